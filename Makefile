# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo.zarr

.PHONY: demo test check clean

# The environment is remade when what it is made from changes.
.venv/installed: pyproject.toml constraints.txt VERSION
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/python examples/quickstart.py --output $(DEMO) --overwrite
	$(BIN)/analyzer info $(DEMO)
	$(BIN)/analyzer temperature $(DEMO) --by row --plot runs/demo-rows.png
	$(BIN)/analyzer temperature $(DEMO) --by layer --plot runs/demo-layers.png

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=examples $(BIN)/mypy --explicit-package-bases --exclude examples/paper examples
	$(BIN)/mypy --package examples.paper
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest

clean:
	rm -rf .venv runs build *.egg-info
