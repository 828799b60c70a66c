# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
WORKERS ?= 3
BIN := .venv/bin

# Modules are compiled when they are first imported. Most of those that are installed never are, and to compile all of
# them takes longer than to install them.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test check warm benchmarks reproduction trainers docs dist wheels gpu-check clean

# The environment is made again when the files that define it change. pip is updated first: the one that comes with an
# older Python resolves versions much more slowly.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --upgrade --constraint constraints.txt
.venv/installed: pyproject.toml constraints.txt recorder/version.py
	$(PYTHON) -m venv .venv
	$(INSTALL) pip
	$(INSTALL) --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/python -m examples.demo --output runs/demo.zarr --rates runs/demo-rates
	$(BIN)/analyzer info 'runs/demo-rates/*.zarr'
	$(BIN)/analyzer temperature runs/demo.zarr --by layer
	$(BIN)/analyzer rows runs/demo.zarr --parameter conv2.lin.weight --plot runs/demo-rows.png
	$(BIN)/analyzer fit 'runs/demo-rates/*.zarr' --against learning_rate --by model --model power --plot runs/demo-rates.png
	$(BIN)/analyzer report runs/demo.zarr 'runs/demo-rates/*.zarr' -o runs/demo.html

# Twice: scripts among the examples import their neighbours as if each were alone, packages do not.
check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --package recorder --package analyzer --package examples.paper --module examples.demo
	MYPYPATH=examples $(BIN)/mypy --explicit-package-bases --exclude 'examples/(paper|demo)' examples
	$(BIN)/lint-imports

# What is heavy has targets of its own, which continuous integration runs, too: benchmarks, reproduction, trainers, wheels,
# and docs, whose build runs the blocks of code of its pages.
QUICK := -m 'not built and not reproduction' --ignore tests/benchmarks --ignore tests/integrations --ignore tests/wheels

# What every worker would compile for itself when it first begins: the modules of libraries, our tests, and our kernels. It
# takes the core that the checks leave idle.
warm: .venv/installed
	$(BIN)/python -W ignore -c 'import analyzer.cli, analyzer.engine.compiled, analyzer.engine.lookback.pairs_compiled, distributed, \
	matplotlib.pyplot, scipy.stats, torch._dynamo, torch_geometric.nn, xarray'
	$(BIN)/pytest --numprocesses 0 --collect-only -qq $(QUICK) > /dev/null || true

# In parallel, three workers on two cores, since many tests wait. Tests that share a slow fixture are in one xdist_group
# and run on one worker. Tests that train or measure have a core for each worker.
PYTEST := $(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder --durations 10

test: .venv/installed
	$(MAKE) --jobs 2 check warm
	$(PYTEST) $(QUICK)

# Every benchmark once, small, and what their tables claim.
benchmarks: .venv/installed
	$(PYTEST) --numprocesses 2 tests/benchmarks

# The paper at toy scale: trainings that are stopped anywhere, branches, answers, figures and verdicts; how networks move.
reproduction: .venv/installed
	$(PYTEST) --numprocesses 2 -m reproduction tests/examples

# Trainings by Lightning, transformers, accelerate and ignite themselves. Their libraries are heavy: no other test needs them.
trainers: .venv/installed
	$(PYTEST) --numprocesses 2 tests/integrations

# The documentation, in docs/_build/html: every block of code and every notebook is run, and its output shown. Then a check
# of each link, and that no page loads anything from a network; and, where there is a Chromium, a look at pages and search.
.venv/docs-installed: .venv/installed
	$(INSTALL) --editable '.[dev,docs]'
	touch $@

docs: .venv/docs-installed
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --builder html --doctree-dir docs/_build/doctrees docs docs/_build/html
	$(BIN)/python -m tests.docs.site docs/_build/html
	$(BIN)/python -m tests.docs.browser docs/_build/html

# The source distribution has only files that git knows, so nothing that a test or a user left behind gets into it.
# The wheel is built from it, so a file that is missing in one is missing in both.
dist: .venv/installed
	rm -rf dist build/source
	mkdir -p build/source
	git ls-files -z > build/files
	tar --create --null --files-from build/files | tar --extract --directory build/source
	$(BIN)/python -m build --quiet --outdir dist build/source
	$(BIN)/twine check --strict dist/*

# The wheel in clean environments, made from the package index and removed afterwards: the extra `recorder`, the extra `analyzer` with
# each Python of the machine, and none. WHEELS=all adds all other extras, and recording with the other Pythons, whose torch takes gigabytes.
wheels: dist
	WHEELS=$(WHEELS) $(PYTEST) --numprocesses 0 tests/wheels

# What only a GPU can show, in at most eight minutes; without a GPU it says so. GPU_PYTHON=python3 uses the packages of
# that Python: tests/benchmarks/gpu_check.py lists those that it needs.
gpu-check: $(if $(GPU_PYTHON),,.venv/installed)
	$(or $(GPU_PYTHON),$(BIN)/python) -m tests.benchmarks.gpu_check

clean:
	rm -rf .venv runs build dist docs/_build docs/generated *.egg-info
