# The few verbs of this project. Everything is installed into .venv, nothing else is needed but Python 3.11+ and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: run test lint bench setup clean
.DEFAULT_GOAL := run

run: setup          ## the main job on the embedded default: every model that is here, every vision task
	@$(BIN)/harness run --models all --tasks vision

test: setup         ## the test suite, in parallel workers, with coverage
	@$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term:skip-covered $(ARGS)

lint: setup         ## ruff and strict types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup        ## measurements against named peers, interleaved
	@$(BIN)/python -m tests.bench $(ARGS)

setup: $(READY)     ## the environment alone

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11'; exit 2; }
	@echo 'setting up $(VENV) (once; torch alone is several GB)'
	@$(PYTHON) -m venv $(VENV) || \
	  { echo 'python -m venv failed; on Debian or Ubuntu: apt install python3-venv'; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@$(BIN)/uv pip install --system-certs --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev,openmmlab]'
	@touch $(READY)

clean:              ## removes the environment and caches of tools, never results
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .coverage
