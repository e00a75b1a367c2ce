# Two commands matter: `make demo` shows the product doing its job, `make test` proves it.
#
#   make demo ERP=sap_odata
#   make demo ARGS="--seconds 60 --seed 7 --speed 10 --chaos"
#
# Neither needs root. PYTHON may name another interpreter: make demo PYTHON=python3.13

SHELL  := /bin/sh
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
VENV   := .venv
BIN    := $(VENV)/bin
OURS   := gateway drivers buffer config simulators
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
# More workers than the two processors of a small machine: much of the time tests wait for processes of their own.
JOBS   ?= 4
# A worker that crashes ends the run, with the name of its test: with another one in its place the run may never end.
SPREAD := --dist loadscope --no-loadscope-reorder --max-worker-restart 0
# Where the short form of `make test` draws a tenth of the examples.
LONG   := $(shell grep -ls "max_examples.*EXAMPLES" tests/*/test_*.py)

# The tests start hundreds of processes of our own: each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types contracts pytest bench soak python clean help

help:
	@echo "make demo    show the product doing its job (ARGS='--seconds 60 --chaos')"
	@echo "make test    lint, types, import contracts, unit, property and system tests"
	@echo "make bench   benchmarks: the core, and the daemon against the bare libraries (14 minutes)"
	@echo "make soak    the long form of the fault tests, such as fuzzed servers for 60 s each (LINEGATE_FUZZ_SEED=7)"
	@echo "make clean   remove what the above made"

demo: $(VENV)/.demo
	@$(BIN)/linegate demo $(if $(ERP),--erp $(ERP)) $(ARGS)

test:
	@$(MAKE) --no-print-directory -j 2 $(VENV)/.collected lint contracts types
	@$(MAKE) --no-print-directory pytest

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy $(OURS)

contracts: $(VENV)/.test
	$(BIN)/lint-imports

pytest: $(VENV)/.test
	$(BIN)/pytest -n $(JOBS) $(SPREAD) -m "not soak" $(ARGS)

bench: $(VENV)/.test
	@for script in tests/benchmarks/bench_*.py; do \
		echo "== $$script"; $(BIN)/python -P $$script $(ARGS) || exit 1; echo; done

soak: $(VENV)/.test
	$(BIN)/pytest -m soak --timeout 3600 $(ARGS)
	$(BIN)/pytest --hypothesis-profile long -n $(JOBS) --max-worker-restart 0 --timeout 3600 $(LONG)

# Each worker compiles every module of the tests, unless one has done it for all. What fails here the tests will tell.
$(VENV)/.collected: $(VENV)/.test $(shell find tests $(OURS) -name '*.py')
	@$(BIN)/pytest --collect-only -qq -m "not soak" >/dev/null 2>&1 || true
	@touch $@

$(VENV)/.demo: pyproject.toml | python
	@test -d $(VENV) || echo "making a virtual environment in $(VENV) (once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -e '.[demo]' || { echo "linegate: the packages could not be installed; is the package index reachable?" >&2; exit 1; }
	@touch $@

$(VENV)/.test: pyproject.toml | python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -e '.[test]'
	@touch $@ $(VENV)/.demo

python:
	@test -n "$(PYTHON)" || { echo "linegate needs Python 3.11 or newer; none was found (looked for python3, python3.11 to python3.14)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "linegate needs Python's venv module; on Debian: apt install python3-venv" >&2; exit 1; }

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
