# Two commands do all the set-up: `make quickstart` and `make test`.
#
#   PYTHON=python3.12          another interpreter (3.11 to 3.13)
#   TORCH_INDEX_URL=URL        take torch from this index, for example PyTorch's own CPU-only one

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: install quickstart test test-all lint bench docs clean

install: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	    sys.exit(0 if ok else "Flyweight needs Python 3.11 to 3.13; this is %s. Try make PYTHON=python3.12 ..." % sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "python3 -m venv failed; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
ifdef TORCH_INDEX_URL
	$(BIN)/python -m pip install --index-url $(TORCH_INDEX_URL) "torch>=2.11,<2.14"
endif
	$(BIN)/python -m pip install -e ".[track,dev]"
	@touch $(READY)

quickstart: $(READY)
	$(BIN)/flyweight quickstart

test: $(READY)
	$(PYTEST)

test-all: $(READY) lint
	$(PYTEST)
	$(PYTEST) -m "slow or shared or gpu or browser"

lint: $(READY)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(READY)
	$(BIN)/python benchmarks/peers.py --tokens 200K --limit 3MB --out benchmarks/results/local.json

docs: $(READY)
	$(BIN)/python -m pip install -q -e ".[docs]"
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .hypothesis
