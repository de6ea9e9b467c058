# Everything works on a bare machine with make and Python 3.11 or newer; CI calls the same targets and nothing else.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
# an existing virtual environment is not rebuilt unless what it is made from changed
MADE_FROM := pyproject.toml constraints.txt

.PHONY: help demo test check lint types imports readme docs news bench clean
.DEFAULT_GOAL := help

help:  ## What can be made
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## +/  make \1\t/' | expand -t 16

demo: $(VENV)/.runtime  ## Explain the built-in pictures: no download of data or weights
	$(BIN)/seewhy demo --out out/demo
	@echo "Look at the files in out/demo."

test: $(VENV)/.dev  ## The tests; make test ARGS="-k grad_cam" runs some of them
	$(BIN)/python -m pytest -n 2 -rfEs $(ARGS)

check: lint types imports readme test docs  ## All that CI runs

lint: $(VENV)/.dev  ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## Types, strictly
	$(BIN)/mypy

imports: $(VENV)/.dev  ## Imports go one way
	$(BIN)/lint-imports

readme: $(VENV)/.dev  ## Is the README's method table that of the registry? tools/docs/readme.py writes it
	$(BIN)/python tools/docs/readme.py --check

docs: $(VENV)/.dev  ## The documentation, into site/; a warning is an error
	$(BIN)/python tools/docs/pages.py
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet --strict

bench: $(VENV)/.dev  ## Speed and memory beside other libraries
	$(BIN)/python benchmarks/run.py $(ARGS)

news: $(VENV)/.dev  ## CHANGELOG.md with the fragments of changelog.d; make news VERSION=0.2.0
	$(BIN)/towncrier build --yes --version $(VERSION)

clean:  ## Remove what was made, the virtual environment included
	rm -rf $(VENV) out site dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "seewhy needs Python 3.11 or newer, and $(PYTHON) is not: try make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/.runtime: $(MADE_FROM) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(MADE_FROM) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(VENV)/.runtime $@
