# `make search` and `make test` need nothing but python3 and make: they set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRIALS ?= 50
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: search test check format readme setup clean help

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

search: $(VENV)/installed  ## set up, then search (TRIALS=50), or finish the search that was begun
	$(BIN)/python cli.py search --trials $(TRIALS)

test: $(VENV)/installed  ## set up, then run the tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

check: test  ## the tests, ruff, strict mypy, and the README's generated parts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python tools/readme.py --check

format: $(VENV)/installed  ## format the code, and generate the README's parts anew
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python tools/readme.py

setup: $(VENV)/installed  ## set up .venv only

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

clean:  ## remove .venv and caches; studies and results stay
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
