# Two commands: `make train` runs the main job, `make test` the tests. Each sets up what it needs in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Bytecode is compiled when a module is first imported: compiling everything would double the installation time.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt
# Workers take the tests of a file together, so that what these share is made once.
TESTS := $(BIN)/python -m pytest -n 2 --dist worksteal
FLOORS := ludus trainers agents envs tools kernels
# The packages laid out as they are installed, for tools that read files instead of importing them.
TREE := build/tree

# Tests start hundreds of processes, each of which would compile anew whatever it imports.
unexport PYTHONDONTWRITEBYTECODE

NAME ?= arithmetic-$(shell date +%Y%m%d-%H%M%S)
MAIN := configs/arithmetic.toml
CONFIG ?= $(MAIN)
# The main job is dealt out to two processes, where there are two cores.
WORKERS = $(shell $(PYTHON) -c 'import os; c = getattr(os, "sched_getaffinity", None); print(min(2, len(c(0)) if c else os.cpu_count() or 1))')

.PHONY: train algorithms test slow kernels lint tree format resolve wheel pages docs clean

train: $(VENV)/project
	$(BIN)/ludus train $(CONFIG) --name $(NAME) $(if $(filter $(MAIN),$(CONFIG)),--run.workers $(WORKERS))

# Trains every algorithm of configs/ on one task, three seeds each, and writes the table and plot of docs/algorithms.md.
algorithms: $(VENV)/project $(VENV)/dev
	$(BIN)/python benchmarks/algorithms.py

# The kernels' interpreter wants a process of its own. It goes first, so that the last lines say what was missing.
test: $(VENV)/project $(VENV)/dev
	TRITON_INTERPRET=1 $(TESTS) -m "not slow" tests/kernels
	$(TESTS) -m "not slow"

# The long proofs; CI runs them too. pytest exits with 5 where there is none.
slow: $(VENV)/project $(VENV)/dev
	TRITON_INTERPRET=1 $(TESTS) -m slow tests/kernels || [ $$? = 5 ]
	$(TESTS) -m slow || [ $$? = 5 ]

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

# Looks whether the pins can be installed, for every supported Python, from the package index alone.
resolve: $(VENV)/project
	$(BIN)/python .ci/resolve.py

# Builds the wheel, installs it with each extra alone into a clean environment and uses it from outside the repository.
wheel: $(VENV)/project $(VENV)/dev
	rm -rf dist build/lib build/bdist* && mkdir -p build
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . > build/wheel.log 2>&1 || { cat build/wheel.log; exit 1; }
	$(BIN)/python .ci/extras.py dist/*.whl

# Writes into docs/ what docstrings say.
pages: $(VENV)/project
	$(BIN)/python .ci/pages.py

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

# An editable installation is looked up after the path, where a folder called `ludus` beside the caller comes first: a clone
# seen from its parent is an empty namespace package. Hence this line puts the installation before the path, unless the
# caller's folder has the package itself, as the root of a clone and the tree of links do.
EDITABLE_FIRST := import os, sys; os.path.isfile("ludus/__init__.py") or sys.meta_path.sort(key=lambda finder: getattr(finder, "__name__", "") != "_EditableFinder")

$(VENV)/project: $(VENV)/packages
	$(PIP) --no-build-isolation --no-deps -e .
	@echo '$(EDITABLE_FIRST)' > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ludus-first.pth"
	@touch $@
