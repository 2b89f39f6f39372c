.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# PyTorch's CPU-only builds are some 5 GB smaller: give the index that pytorch.org's "Get started" names for them.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c requirements.txt \
  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: help install up test lint format types bench lock

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

install: .venv/.dev ## a virtual environment with everything, tests and linters too

up: .venv/.run ## run Headway here and train a first classifier (ARGS=--exit-after-sample, ARGS="--port 9000", …)
	@$(BIN)/headway up --sample $(ARGS)

test: .venv/.dev ## all tests (ARGS="-k sweep", …)
	@$(BIN)/python -m pytest $(ARGS)

lint: .venv/.dev ## ruff: rules and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: .venv/.dev ## ruff mends what it can
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: .venv/.dev ## mypy, strict
	@$(BIN)/mypy

bench: .venv/.dev ## measure: interleaved runs, medians, hardware and versions
	@$(BIN)/python -m tests.benchmarks.run $(ARGS)

lock: .venv/.dev ## write requirements.txt anew, for every platform
	@$(BIN)/python -m pip install -q uv && $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	  --all-extras --no-header --no-annotate --no-emit-index-url -q -o requirements.txt

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
	@$(PIP) -q -e '.[worker,dev]' && touch $@
