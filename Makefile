# kzoo's everyday commands. Each sets up .venv by itself (once; again when the locked packages change).
#
#   make PYTHON=python3.12 test     with another Python
#   make test ARGS="-k tokenizer"   with arguments for pytest

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format fuzz clean

help:  ## say what there is
	@echo "kzoo: a model zoo for Keras 3 on TensorFlow, served by TensorFlow Serving"
	@echo
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## install kzoo and its tools into .venv (the others do it by themselves)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { \
	    echo "error: kzoo needs Python 3.11 or later, and $(PYTHON) is not here. Install it, or name another: make PYTHON=python3.12 ..." >&2; \
	    exit 1; }
	@echo "Installing kzoo and what it needs into $(VENV) (about 3 GB; a few minutes the first time) ..."
	@$(PYTHON) -m venv $(VENV) || { \
	    echo "error: $(PYTHON) could not make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,prepare]'
	@touch $@

demo: $(INSTALLED)  ## the main job on real input: fine-tune, measure, export, serve, ask
	@$(BIN)/kzoo demo $(ARGS)

test: $(INSTALLED)  ## the tests, in two processes with one thread each
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(INSTALLED)  ## lint, format, order of the rooms, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: $(INSTALLED)  ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(INSTALLED)  ## the long comparisons: tokenizers against the reference on generated and real text
	$(BIN)/python -m tests.tokenizers.fuzz --strings 1000000 $(ARGS)

clean:  ## remove what was built (not .venv, not runs/)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
