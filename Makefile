.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
JOBS ?= 2
MINUTES ?= 1
SEED ?= 0
# PyTorch's CPU-only builds are some 5 GB smaller: give the index that pytorch.org's "Get started" names for them.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c requirements.txt \
  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: help install up test containers lint format types bench chaos docs lock wheel sbom audit

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: .venv/.dev ## a virtual environment with everything, tests and linters too

up: .venv/.run ## run Headway here and train a first classifier (ARGS=--exit-after-sample, ARGS="--port 9000", …)
	@$(BIN)/headway up --sample $(ARGS)

test: .venv/.dev ## all tests that need no Docker and no night (ARGS="-k sweep"; JOBS=0 for one process)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(ARGS)

containers: .venv/.dev ## the tests of the images and of the compose stack: needs Docker with compose
	@$(BIN)/python -m pytest -m containers tests/containers $(ARGS)

lint: .venv/.dev ## ruff: rules and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: .venv/.dev ## ruff mends what it can
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: .venv/.dev ## mypy, strict
	@$(BIN)/mypy

bench: .venv/.dev ## measure: interleaved runs, medians, hardware and versions
	@$(BIN)/python -m tests.benchmarks.run $(ARGS)

chaos: .venv/.dev ## a soak: jobs in a house where something is always killed, cut or full (MINUTES=30 SEED=7)
	@$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES) --seed $(SEED)

docs: .venv/.dev ## write the pages that are made from code and from what was measured
	@$(BIN)/python -m infra.settings_page && $(BIN)/python -m infra.openapi_page && $(BIN)/python -m tests.benchmarks.page

lock: .venv/.release ## write requirements.txt anew, for every platform
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	  --all-extras --no-header --no-annotate --no-emit-index-url -q -o requirements.txt

wheel: .venv/.release ## the wheel and the source archive, in dist/
	@$(BIN)/python -m build --outdir dist .

sbom: .venv/.release ## build/sbom.json: what a running Headway is made of, as CycloneDX
	@mkdir -p build && $(BIN)/uv pip compile pyproject.toml --extra worker --extra compose --extra traces \
	  -c requirements.txt --python-version 3.11 --no-header --no-annotate --no-emit-index-url -q -o build/runtime.txt \
	  && $(BIN)/cyclonedx-py requirements build/runtime.txt --pyproject pyproject.toml --output-reproducible \
	  -o build/sbom.json && echo "build/sbom.json lists $$(grep -c == build/runtime.txt) parts."

audit: .venv/.release ## what is publicly known against the locked dependencies (ARGS=--required: or it fails)
	@$(BIN)/python -m infra.audit $(ARGS)

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Headway needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try make PYTHON=python3.12."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv is missing: on Debian and Ubuntu, apt install python3-venv."; exit 1; }
	@$(PYTHON) -m venv .venv && touch $@

.venv/.run: .venv/.made pyproject.toml requirements.txt
	@echo "Installing (torch is large: this takes a minute or more the first time) …"
	@$(PIP) -e '.[worker]' && touch $@

.venv/.dev: .venv/.run
	@$(PIP) -q -e '.[worker,compose,traces,dev]' && touch $@

.venv/.release: .venv/.made pyproject.toml requirements.txt
	@$(PIP) -q -e '.[release]' && touch $@
