# Two commands on a fresh machine: `make sweep` and `make test`. Needs Python >= 3.11, make and g++.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
SWEEP  ?= sweeps/digits.yml
# Data sets for tests and benchmarks, where they are there; the product never needs them.
export RFPRUNE_DATA ?= $(wildcard $(abspath ../shared/data))

.PHONY: help install install-test sweep test test-slow test-long coverage lint docs bench wheel clean

help:
	@echo "make sweep      install and run $(SWEEP), then show the front"
	@echo "make test       install and run the quick tests, ruff and mypy"
	@echo "make test-slow  run the slow tests"
	@echo "make test-long  run what takes minutes: before a release"
	@echo "make coverage   run all tests, and show which lines none of them reaches"
	@echo "make docs       build the documentation site into build/site"
	@echo "make wheel      build the wheel into dist/"

define install_with_extras
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch first and by its exact version: a looser request may fetch gigabytes of GPU libraries.
	$(PIP) install -q -c constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(PIP) install -q -c constraints.txt -e '.$(EXTRAS)'
	touch $(VENV)/.installed $@
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	$(install_with_extras)

$(VENV)/.installed-test: EXTRAS := [test,edge]
$(VENV)/.installed-test: pyproject.toml constraints.txt
	$(install_with_extras)

install: $(VENV)/.installed

install-test: $(VENV)/.installed-test

sweep: install
	$(BIN)/rfprune sweep $(SWEEP)
	@echo; echo "To have rfprune on your path: . $(BIN)/activate"

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install-test lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

test-slow: install-test
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "slow and not long"

test-long: install-test
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m long

# All tests take up to half as long again while their lines are counted.
coverage: install-test
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --cov --cov-report=
	$(BIN)/coverage report --skip-covered --sort=cover

docs: install
	$(PIP) install -q -c constraints.txt -e '.[docs]'
	$(BIN)/python -m docs.site.build build/site
	@echo "build/site/index.html"

wheel: install-test
	@# With the tools of the extra test: nothing is fetched.
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
