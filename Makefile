# Two commands: `make train` runs the main job, `make test` the tests. Each sets up what it needs in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Bytecode is compiled when a module is first imported: compiling everything would double the installation time.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt
FLOORS := ludus trainers agents envs tools kernels
# The packages laid out as they are installed, for tools that read files instead of importing them.
TREE := build/tree

NAME ?= arithmetic-$(shell date +%Y%m%d-%H%M%S)
CONFIG ?= configs/arithmetic.toml

.PHONY: train test kernels lint tree format wheel docs clean

train: $(VENV)/project
	$(BIN)/ludus train $(CONFIG) --name $(NAME)

test: $(VENV)/project $(VENV)/dev
	$(BIN)/python -m pytest -n 2
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -n 2 tests/kernels

# Compiles every kernel for every GPU that is supported, and looks at the machine code. Needs no GPU.
kernels: $(VENV)/project $(VENV)/dev
	$(BIN)/python .ci/compile_kernels.py

lint: $(VENV)/project $(VENV)/dev tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(TREE) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p ludus
	cd $(TREE) && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/pyproject.toml

tree:
	rm -rf $(TREE) && mkdir -p $(TREE) && cp -rs $(CURDIR)/ludus $(TREE)/ludus
	ln -s $(foreach floor,$(filter-out ludus,$(FLOORS)),$(CURDIR)/$(floor)) $(TREE)/ludus/

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Builds the wheel, installs it alone into a clean environment and uses it from outside the repository.
wheel: $(VENV)/project $(VENV)/dev
	rm -rf dist build/wheel build/lib build/bdist* && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . > build/wheel/build.log
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt dist/*.whl
	cd build/wheel && venv/bin/python ../../.ci/smoke_wheel.py ../../dist/*.whl

docs: $(VENV)/project $(VENV)/docs tree
	$(BIN)/mkdocs build --strict --site-dir site

clean:
	rm -rf $(VENV) build dist site *.egg-info

$(VENV)/packages: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Ludus needs Python 3.11 or newer: this is %d.%d; call make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(PIP) "setuptools>=80" wheel
	$(BIN)/python .ci/extra.py dependencies all > $@.txt
	$(PIP) -r $@.txt
	@touch $@

$(VENV)/dev $(VENV)/docs: $(VENV)/packages
	$(BIN)/python .ci/extra.py $(@F) > $@.txt
	$(PIP) -r $@.txt
	@touch $@

# An editable installation is looked up after the path. There, a folder called `ludus` beside the caller comes first, such as
# a clone seen from its parent, as an empty namespace package; hence the line that puts the installation before the path.
EDITABLE_FIRST := import sys; sys.meta_path.sort(key=lambda finder: getattr(finder, "__name__", "") != "_EditableFinder")

$(VENV)/project: $(VENV)/packages
	$(PIP) --no-build-isolation --no-deps -e .
	@echo '$(EDITABLE_FIRST)' > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ludus-first.pth"
	@touch $@
