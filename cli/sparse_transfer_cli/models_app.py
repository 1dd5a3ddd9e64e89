"""The verbs about models to start from, and their options; what they do is imported when called.

Like ``sparse_transfer_cli.app`` this decides how long ``--help`` takes: it imports typer only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparse_transfer_cli.options import CatalogOption, JsonOption, ProgressOption, StorageOption

models = typer.Typer(rich_markup_mode=None)
catalog = typer.Typer(
    rich_markup_mode=None, help="The foundation models that names and levels resolve to."
)

SizeOption = Annotated[
    Literal["largest", "medium", "smallest"],
    typer.Option(help="Which size of its family it is taken for."),
]


@models.command()
def upstream(
    model: Annotated[
        str, typer.Option(help="The dense model: a folder or an address.", show_default=False)
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Texts without labels, .jsonl or .txt; or a folder of pictures.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="The new foundation's folder.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Its name. Default: the folder's.")] = None,
    licence: Annotated[str | None, typer.Option(help="The dense model's, if known.")] = None,
    sparsity: Annotated[float, typer.Option(help="Share of weights to set to zero.")] = 0.8,
    method: Annotated[
        Literal["admm", "sparsegpt", "wanda", "magnitude", "gradual"],
        typer.Option(help="How weights are chosen."),
    ] = "admm",
    pattern: Annotated[
        Literal["unstructured", "block4"],
        typer.Option(help="Of the zeros: single weights, or four neighbouring inputs."),
    ] = "unstructured",
    budgets: Annotated[
        Literal["uniform", "layer-error"],
        typer.Option(help="Each layer's zeros: the same share, or more where they cost less."),
    ] = "uniform",
    calibration_rows: Annotated[int, typer.Option(help="Texts that pruning looks at.")] = 768,
    refine_rounds: Annotated[
        int, typer.Option(help="Of exchanging kept weights for better ones, layer by layer.")
    ] = 0,
    block_steps: Annotated[int, typer.Option(help="Of tuning each pruned block as a whole.")] = 0,
    gradual_steps: Annotated[
        int | None,
        typer.Option(
            help="In which a gradual pruning reaches its sparsity. Default: 150.",
            show_default=False,
        ),
    ] = None,
    prune_every: Annotated[int, typer.Option(help="Steps, of a gradual pruning.")] = 10,
    initial_sparsity: Annotated[float, typer.Option(help="Of a gradual pruning.")] = 0.0,
    recovery_steps: Annotated[int, typer.Option(help="Of distillation after pruning.")] = 250,
    batch_size: Annotated[int, typer.Option(help="Texts of a recovery step.")] = 32,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="Of training steps.")
    ] = "auto",
    max_length: Annotated[int, typer.Option(help="Tokens; longer texts are cut.")] = 64,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Pixels of a side. Default: the model's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice and order of texts.")] = 0,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Read a pickle of more than tensors; runs no code."),
    ] = False,
    catalog: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own catalogue to add it to.", show_default=False),
    ] = None,
    size: SizeOption = "smallest",
    progress: ProgressOption = "auto",
) -> None:
    """Make a sparse foundation model out of a dense one."""
    from sparse_transfer_api.optim_level import Size
    from sparse_transfer_cli.verbs.upstream import UpstreamArguments, make

    arguments = UpstreamArguments(
        model=model,
        data=data,
        output=output,
        name=name,
        licence=licence,
        sparsity=sparsity,
        method=method,
        pattern=pattern,
        budgets=budgets,
        calibration_rows=calibration_rows,
        refine_rounds=refine_rounds,
        block_steps=block_steps,
        gradual_steps=gradual_steps,
        prune_every=prune_every,
        initial_sparsity=initial_sparsity,
        recovery_steps=recovery_steps,
        batch_size=batch_size,
        precision=precision,
        max_length=max_length,
        image_size=image_size,
        seed=seed,
        trust_pickle=trust_pickle,
    )
    make(arguments, catalog=catalog, size=Size(size.capitalize()), style=progress)


@catalog.command("list")
def catalog_list(
    catalog: CatalogOption = None,
    use_case: Annotated[
        str | None,
        typer.Option(help="Only what it starts from, level by level.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the models of the catalogue, or what the levels of a use case start from."""
    from sparse_transfer_cli.verbs.catalog import list_levels, list_models

    if use_case is None:
        list_models(catalog, as_json=json)
    else:
        list_levels(use_case, catalog, as_json=json)


@catalog.command("show")
def catalog_show(
    name: Annotated[
        str,
        typer.Argument(
            help="See 'catalog list'; or an identifier of the SparseZoo.", show_default=False
        ),
    ],
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Show everything that is known about one model, and whether it can be reached."""
    from sparse_transfer_cli.verbs.catalog import show_model

    show_model(name, catalog, as_json=json)


@catalog.command("add")
def catalog_add(
    folder: Annotated[Path, typer.Argument(help="As 'upstream' wrote it.", show_default=False)],
    catalog: Annotated[
        Path,
        typer.Option("--catalog", metavar="FILE", help="Made when missing.", show_default=False),
    ],
    size: SizeOption = "smallest",
) -> None:
    """Add a foundation model to your own catalogue, as the first choice for its size."""
    from sparse_transfer_api.optim_level import Size
    from sparse_transfer_cli.console import stdout
    from sparse_transfer_cli.verbs.catalog import add_model

    add_model(folder, catalog, Size(size.capitalize()), stdout())


@catalog.command("build")
def catalog_build(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME", help="Of models or ladders; see 'catalog list'.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(help="Their folder, with a catalogue of what was made.", show_default=False),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Data without labels, where an entry names none.")
    ] = None,
    catalog: CatalogOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands; run nothing.")
    ] = False,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Read pickles of more than tensors; run no code.")
    ] = False,
    progress: ProgressOption = "auto",
) -> None:
    """Make sparse models that are published nowhere, as their entries say."""
    from sparse_transfer_cli.verbs.catalog_build import BuildArguments, build

    arguments = BuildArguments(
        names=names,
        output=output,
        data=data,
        catalog=catalog,
        dry_run=dry_run,
        trust_pickle=trust_pickle,
    )
    raise typer.Exit(build(arguments, progress))


@catalog.command("mirror")
def catalog_mirror(
    to: Annotated[
        str,
        typer.Option(
            metavar="URI", help="Folder or address: s3://, pvc://, file://.", show_default=False
        ),
    ],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="See 'catalog list'.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All models.")] = False,
    catalog: CatalogOption = None,
    file: StorageOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be copied; copy nothing.")
    ] = False,
    progress: ProgressOption = "auto",
) -> None:
    """Copy models, and a catalogue of the copies, to where there is no internet."""
    from sparse_transfer_cli.verbs.catalog_mirror import MirrorArguments, mirror

    arguments = MirrorArguments(
        names=names or (),
        everything=everything,
        to=to,
        catalog=catalog,
        file=file,
        dry_run=dry_run,
    )
    raise typer.Exit(mirror(arguments, progress))


models.add_typer(catalog, name="catalog", no_args_is_help=True)
