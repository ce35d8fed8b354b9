# The front door: `make all` from a fresh clone to the outputs, `make test` to the tests.

PYTHON  ?= python3
BIN     := .venv/bin
MIDTERM := $(BIN)/midterm
READY   := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: all setup same-python data part1 part2 part3 part4 reference report check-reference test \
  check test-all lint coverage mutation bench bench-cluster clean help
# Make's own jobs would write the report before its runs are there.
.NOTPARALLEL:

all: setup  ## set up, get the data, run every part, write the report
	@$(MIDTERM) all

setup: same-python $(READY)  ## make .venv with everything in it

# A .venv is finished when this file stands; it is made again when a requirement changes.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "midterm needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Without PYTHON=… a .venv is used as it is, whichever Python made it.
same-python:
ifneq ($(origin PYTHON),file)
	@test ! -x $(BIN)/python || test "$$($(BIN)/python -V)" = "$$($(PYTHON) -V)" \
	  || { echo ".venv is of $$($(BIN)/python -V), not of $$($(PYTHON) -V): make clean first"; exit 1; }
endif

data: setup  ## get Fashion-MNIST and check it
	@$(MIDTERM) data fetch

part1: setup  ## differentiate the function of Part 1 by every method
part2: setup  ## draw the soft-threshold, check the gradients of the module
part3: setup  ## find the divergent learning rate; train, follow averaged weights
part4: setup  ## the arithmetic of convolution and pooling
reference: setup  ## Parts 1 and 3 as they were published, Part 3 on a linear network
report: setup  ## one page of HTML from the runs in outputs/

part1 part2 part3 part4 reference report:
	@$(MIDTERM) all --only $@

# In a folder of its own, so that it computes everything anew and leaves outputs/ alone.
check-reference: setup  ## reproduce the publication, check it against what is expected
	@$(MIDTERM) data fetch > /dev/null
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; cd "$$folder"; \
	  $(CURDIR)/$(MIDTERM) all > all.txt; $(CURDIR)/$(MIDTERM) check

# On two workers, in random order: pytest prints the seed, and --randomly-seed=SEED repeats it.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

test: lint  ## the same set-up, then linters, types and the tests: minutes
	@$(MIDTERM) data fetch > /dev/null || echo "No Fashion-MNIST here: the tests that need it will say so."
	$(PYTEST)

check: test  ## the same as test

test-all: test  ## then the slow tests: random kills, long fuzzing, real shell loops, the wheel
	MIDTERM_RANDOM=1 $(PYTEST) -m slow

lint: setup  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## ratios against plain PyTorch, side by side
	@$(MIDTERM) data fetch > /dev/null
	$(BIN)/python -m benchmarks.bench

bench-cluster: setup  ## what --launcher dask gains and costs
	$(BIN)/python -m benchmarks.cluster

clean:  ## remove .venv, builds and caches; keep data/ and outputs/
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

coverage: setup  ## branch coverage of all tests, in the processes they start too: fails below 95 %
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[coverage]'
	@$(MIDTERM) data fetch > /dev/null || echo "No Fashion-MNIST here: the tests that need it will say so."
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutation: setup  ## one wrong character at a time, and some test must go red: hours
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	$(BIN)/mutmut run
	@$(BIN)/mutmut results

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
