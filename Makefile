# make demo: the main job, from nothing.  make test: all tests, lint and types, from nothing.
# make fuzz: the long form of the tests of bad input.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test fuzz lint types clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/xqg demo --to build/xqg-demo

test: lint types
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Thousands of spoilt files against all readers; COUNT is for each of some forty targets.
COUNT ?= 200
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.bad_input.fuzz --count $(COUNT)
	XQG_FUZZ=$(COUNT) $(BIN)/python -m pytest tests/bad_input/test_properties.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,export]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
