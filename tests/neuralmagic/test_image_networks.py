"""SparseML's own image classifiers answer as the networks that their weights go to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("sparseml", reason="make test-neuralmagic")

from sparse_transfer_runner.catalog.image_models import read_image_model
from sparse_transfer_runner.catalog.sparseml_images import sparseml_model
from sparse_transfer_runner.neuralmagic.mends import mend

FAMILIES = (
    *("resnet18", "resnet50", "resnext50", "mobilenet", "mobilenet_v2", "vgg11bn"),
    *("efficientnet_b0", "efficientnet_v2_s"),
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SparseML writes its logs into the working directory."""
    monkeypatch.chdir(tmp_path)


def network(arch_key: str) -> Any:
    """Returns SparseML's network, whose norms and biases are no two alike."""
    mend()
    from sparseml.pytorch.models import ModelRegistry

    torch.manual_seed(0)
    net = ModelRegistry.create(arch_key, num_classes=3)
    for name, value in net.state_dict().items():
        if value.dim() == 1:
            value.uniform_(0.8, 1.2) if name.endswith(("weight", "var")) else value.normal_(0, 0.1)
    return net.eval()


@pytest.mark.parametrize("arch_key", FAMILIES)
def test_a_network_answers_as_sparseml_s_own(arch_key: str) -> None:
    theirs, known = network(arch_key), sparseml_model(arch_key)
    weights = theirs.state_dict()
    names = known.renamed(list(weights))
    ours = known.architecture.build(3).eval()
    ours.load_state_dict({names[name]: tensor for name, tensor in weights.items()})
    pictures = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected, found = theirs(pictures)[0], ours(pictures).logits
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets SparseML fuse and round by itself what our mends keep it from."""
    from sparseml.pytorch.sparsification.quantization import (
        helpers,
        modifier_quantization,
        quantize,
    )

    for module, name in (
        (helpers, "fuse_module_conv_bn_relus"),
        (quantize, "set_quantization_schemes"),
    ):
        monkeypatch.setattr(modifier_quantization, name, getattr(module, name))


@pytest.mark.parametrize("arch_key", ["resnet18", "mobilenet", "efficientnet_b0"])
def test_what_is_saved_while_sparseml_quantizes_is_read_as_before(
    arch_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(arch_key).train()
    known, plain = sparseml_model(arch_key), net.state_dict()
    expected = {known.renamed(list(plain))[name]: tensor for name, tensor in plain.items()}
    from sparseml.pytorch.sparsification.quantization import QuantizationModifier

    as_published(monkeypatch)
    QuantizationModifier(start_epoch=0.0).apply(net)
    quantized = net.state_dict()
    assert any(".module.bn." in name for name in quantized)
    torch.save({"state_dict": quantized, "arch_key": arch_key}, "model.pth")
    found = read_image_model(Path("model.pth"), trusted=False).weights
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
