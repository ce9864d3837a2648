# Two commands: `make train` runs the main job, `make test` the tests. Each sets up what it needs in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Bytecode is compiled when a module is first imported: compiling everything would double the installation time.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt
FLOORS := ludus trainers agents envs tools kernels
SOURCES := $(shell find $(FLOORS) -type f -not -path '*/__pycache__/*' | sort)
# One name a set of sources: a strict editable install links each file, so a new file must be linked anew.
LINKED := $(VENV)/linked-$(shell printf '%s\n' $(SOURCES) | cksum | cut -d' ' -f1)

NAME ?= arithmetic-$(shell date +%Y%m%d-%H%M%S)
CONFIG ?= configs/arithmetic.toml

.PHONY: train test lint format wheel docs clean

train: $(LINKED)
	$(BIN)/ludus train $(CONFIG) --name $(NAME)

test: $(LINKED) $(VENV)/dev
	$(BIN)/python -m pytest -n 2

lint: $(LINKED) $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Builds the wheel, installs it alone into a clean environment and uses it from outside the repository.
wheel: $(LINKED) $(VENV)/dev
	rm -rf dist build/wheel build/bdist* && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . > build/wheel/build.log
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt dist/*.whl
	cd build/wheel && venv/bin/python ../../.ci/smoke_wheel.py ../../dist/*.whl

docs: $(LINKED) $(VENV)/docs
	$(BIN)/mkdocs build --strict --quiet --site-dir site

clean:
	rm -rf $(VENV) build dist site *.egg-info

$(VENV)/packages: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Ludus needs Python 3.11 or newer: this is %d.%d; call make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(PIP) "setuptools>=80" wheel
	$(PIP) $$($(BIN)/python .ci/extra.py dependencies train)
	@touch $@

$(VENV)/dev $(VENV)/docs: $(VENV)/packages
	$(PIP) $$($(BIN)/python .ci/extra.py $(@F))
	@touch $@

$(LINKED): $(VENV)/packages
	rm -rf build/__editable__* $(VENV)/linked-*
	$(PIP) --no-build-isolation --no-deps --config-settings editable_mode=strict -e .
	@touch $@
