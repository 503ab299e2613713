# Every target sets up what it needs; bare `make` lists them.

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PEERS := .venv-peers
OLDEST_PYTHON := 3.11
KAFKA_PORT ?= 9092
# Most tests of real servers wait; a file's tests stay together, as they share what takes long to start. In the order
# of their folders: those that wait long come first, and the short ones fill the end.
JOBS ?= 3
PYTEST = $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Many processes run the same files.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint types arrows kernels unit peers bench kills nab scorecard kafka lock clean

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(INSTALLED) ## start Millstream with brokers of its own on this machine
	@$(VENV)/bin/millstream up $(ARGS)

test: $(INSTALLED) ## everything CI checks: style, types, imports and all tests
	@# Two at a time: types take as long as all else.
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target types kernels lint arrows peers
	@echo "Testing (real servers are started where installed)…"
	@$(PYTEST) -ra $(ARGS)

lint: $(INSTALLED) ## style and format of the code
	@echo "Checking style…"
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check

types: $(INSTALLED) ## static types
	@echo "Checking types…"
	@$(PYTHON) -m mypy

arrows: $(INSTALLED) ## which package may import which
	@echo "Checking imports…"
	@$(VENV)/bin/lint-imports --no-logo

kernels: $(INSTALLED)
	@echo "Compiling kernels and tests…"
	@$(PYTHON) -m tests.kernels
	@$(PYTHON) -m pytest --collect-only -qq >/dev/null || true  # rewrites their asserts; what fails is said by the run

unit: $(INSTALLED) ## the tests that need no real server
	@$(PYTEST) -m "not real" $(ARGS)

peers: $(PEERS)/.installed ## other people's implementations of formats, to test ours against

bench: $(INSTALLED) ## measure throughput and latency
	@$(PYTHON) -m tests.bench $(ARGS)

kills: $(INSTALLED) ## kill workers at random, fifty times, and compare with a run in which nothing happened
	@MILLSTREAM_KILLS=50 $(PYTHON) -m pytest tests/faults/test_worker_killed.py -k random $(ARGS)

nab: $(INSTALLED) ## the default models on the Numenta Anomaly Benchmark (ARGS="--data PATH")
	@$(PYTHON) -m tests.nab $(ARGS)

scorecard: $(INSTALLED) ## a quiet simulated day, and one with faults: what is found, how soon, and false alerts
	@$(PYTHON) -m tests.scorecard $(ARGS)

kafka: $(INSTALLED) ## run Apache Kafka on 127.0.0.1:9092 until Ctrl-C
	@$(PYTHON) -m tests.servers.kafka --port $(KAFKA_PORT) $(ARGS)

lock: ## renew requirements.lock from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	@echo "Resolving the newest allowed versions…"
	@uv pip compile --quiet --universal --python-version $(OLDEST_PYTHON) --all-extras --generate-hashes \
	    --upgrade pyproject.toml -o requirements.lock
	@uv pip compile --quiet --universal --python-version $(OLDEST_PYTHON) --generate-hashes \
	    --upgrade tests/peers/requirements.in -o tests/peers/requirements.lock

clean: ## remove the environment, caches and builds (not the Kafka download)
	@rm -rf $(VENV) $(PEERS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, anew whenever what is to be in it changes. With uv if it is there, else with pip.
$(INSTALLED): requirements.lock pyproject.toml
	@set -e; \
	new_enough() { "$$1" -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST_PYTHON)".split("."))))' 2>/dev/null; }; \
	rm -f $@; \
	if ! new_enough $(PYTHON); then \
	    echo "Creating $(VENV)…"; \
	    rm -rf $(VENV); \
	    if command -v uv >/dev/null; then \
	        uv venv --quiet --python '>=$(OLDEST_PYTHON)' $(VENV); \
	    else \
	        for python in python3 python3.13 python3.12 python3.11 none; do \
	            if new_enough $$python; then break; fi; \
	        done; \
	        if [ $$python = none ]; then \
	            echo "Millstream needs Python $(OLDEST_PYTHON) or newer; python3 is: $$(python3 --version 2>&1)" >&2; \
	            echo "Install one (apt-get install python3.12 python3.12-venv), or uv, which brings its own." >&2; \
	            exit 1; \
	        fi; \
	        $$python -m venv $(VENV) || { \
	            echo "$$python cannot make environments: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }; \
	    fi; \
	fi; \
	echo "Installing dependencies (a few minutes the first time)…"; \
	if command -v uv >/dev/null; then \
	    install="uv pip install --quiet --python $(PYTHON)"; \
	else \
	    $(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip >/dev/null; \
	    install="$(PYTHON) -m pip install --quiet --disable-pip-version-check"; \
	fi; \
	$$install --require-hashes -r requirements.lock; \
	$$install --no-deps --no-build-isolation --editable .; \
	touch $@

# Their requirements contradict ours, so they have an environment of their own.
$(PEERS)/.installed: tests/peers/requirements.lock $(INSTALLED)
	@set -e; rm -rf $(PEERS); \
	if command -v uv >/dev/null; then \
	    uv venv --quiet --python $(PYTHON) $(PEERS); \
	    uv pip install --quiet --python $(PEERS)/bin/python --require-hashes -r tests/peers/requirements.lock; \
	else \
	    $(PYTHON) -m venv $(PEERS); \
	    $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	        -r tests/peers/requirements.lock; \
	fi; \
	touch $@
