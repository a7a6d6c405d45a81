# ADMM Compression Notebooks. Every target makes .venv by itself, from constraints.txt.
#
#   make run        execute all notebooks; executed copies, HTML and an index in build/run/
#   make lab        open JupyterLab on the first notebook
#   make site       the executed notebooks as pages to read without a network, in build/site/
#   make test       the tests a change must pass;  make test-full: these and the slow ones
#   make bench      times beside those of peers, and of panels in a browser;
#                   make bench-files: bytes beside those of other codes;  make bench-growth: time and memory;
#                   make bench-processes: two processes beside one
#   make mutants    which small changes to the core no test notices;  make coverage: lines that no test runs
#   make setup      only install
#
# PYTHON=python3.12        another interpreter (3.11 or newer)
# TORCH_INDEX=<url>        an extra package index, for another build of torch (CPU only, CUDA, ROCm);
#                          to change it later, remove .venv first
# ARGS="--only 01"         more arguments for the command behind run, lab, test, bench or records
# JOBS=4                   tests side by side (default: 2)
# PROFILE=smoke            the profile of make run: smoke, quick (default) or paper

PYTHON  ?= python3
PROFILE ?= quick
JOBS    ?= 2
ARGS    ?=
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
INDEX   := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
ROOT    := $(if $(filter 0,$(shell id -u)),--allow-root)

# torch's threads spin while they wait for each other; on a busy machine that makes training many times
# slower (seen: 14 times, on two cores with two other jobs). Asleep, they lose next to nothing.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup run lab site test test-rest test-full bench bench-files bench-growth bench-processes records records-reencode table notebooks mutants coverage lint clean

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

# pip writes into an existing .venv happily, so an interrupted installation is simply resumed.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) found: install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), but 3.11 or newer is needed: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) comes without the venv module: install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(INDEX) -c constraints.txt -e '.[test,dev]'
	@touch $@

setup: $(STAMP)

run: $(STAMP)
	$(BIN)/python -m admm_lib notebooks --profile $(PROFILE) $(ARGS)

lab: $(STAMP)
	$(BIN)/python -m jupyterlab $(ROOT) $(ARGS) notebooks/00_quickstart.ipynb

# The committed notebooks; ARGS="--folder build/run" takes those of the last `make run`.
site: $(STAMP)
	$(BIN)/python -m admm_lib site $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# The slow tier alone: what test-full has and test has not.
test-rest: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m full $(ARGS)

test-full: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "full or not full" $(ARGS)

bench: $(STAMP)
	$(BIN)/python tests/benchmarks/bench.py $(ARGS)
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/panels.py $(ARGS)

bench-growth: $(STAMP)
	$(BIN)/python tests/benchmarks/growth.py $(ARGS)

bench-processes: $(STAMP)
	$(BIN)/python tests/benchmarks/processes.py $(ARGS)

# Bytes instead of times: whole files beside those of other codes. Makes an environment for nncodec in build/.
bench-files: $(STAMP)
	$(BIN)/python tests/benchmarks/files.py $(ARGS)

# Runs the recorded experiments again, one seed at a time, into build/records; an interrupted call is
# resumed by the next. New recipes are recorded by: .venv/bin/admm run data/recipes/NAME.yaml
records: $(STAMP)
	$(BIN)/python -m admm_lib run --home build/records $(sort $(wildcard data/recipes/*.yaml)) $(ARGS)

# Writes the files of the records in today's format where that is smaller; nothing is trained.
records-reencode: $(STAMP)
	$(BIN)/python -m admm_lib reencode $(ARGS)

# Writes the table of today's records into README.md.
table: $(STAMP)
	$(BIN)/python -m admm_lib table --readme

# Executes the committed notebooks again, in place, and writes them in their committed form.
notebooks: $(STAMP)
	$(BIN)/python -m admm_lib notebooks --in-place $(ARGS)

# Small changes to the projections and to ADMM, one at a time: which of them does no test notice? Ten minutes.
mutants: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target build/mutmut mutmut==3.8.1
	OMP_NUM_THREADS=1 PYTHONPATH=build/mutmut $(BIN)/python -m mutmut run
	PYTHONPATH=build/mutmut $(BIN)/python -m mutmut results

# Lines and branches of the library that the fast tests run; ARGS='-m "full or not full"' takes all tests.
coverage: $(STAMP)
	@mkdir -p build/coverage
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n $(JOBS) --dist worksteal $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: $(STAMP)
	$(BIN)/python -m ruff check .

clean:
	rm -rf build mutants .pytest_cache .ruff_cache .hypothesis
