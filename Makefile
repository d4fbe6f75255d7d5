# Everything runs in .venv, which is made from requirements.lock the first time and whenever the lock changes.
PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
READY := .venv/.ready

.PHONY: up demo demo-plugin test reset status chromium check lint types bench bench-growth bench-soak figures chaos hostile sim lock

up: $(READY)      ## start everything on this machine
	@$(BIN)/throughline up
demo: $(READY)    ## watch how orders are paid, from everywhere and in trouble
	@$(BIN)/throughline demo
demo-plugin: $(READY) ## watch a plugin be installed, told of a paid order, and taken out
	@$(BIN)/throughline demo-plugin
status: $(READY)  ## what runs, where, and with which credentials
	@$(BIN)/throughline status
reset: $(READY)   ## delete the local data (not the downloads)
	@$(BIN)/throughline reset
test: $(READY)    ## all tests, on real PostgreSQL and Kafka
	@$(BIN)/pytest
chromium: $(READY) ## install Chromium where there is none, for the tests of the pages (Debian, Ubuntu; needs root)
	@$(BIN)/python -c 'import sys; from tests.browser.chromium import chromium_path; sys.exit(chromium_path() is None)' || \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null)
check: lint types ## everything that is checked without running the tests
	@$(BIN)/lint-imports && $(BIN)/python -m deploy.generate --check
lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: $(READY)
	@$(BIN)/mypy
bench: $(READY)   ## throughput, latency and HTTP, about 20 minutes; results in bench/results
	@$(BIN)/python -m bench $(BENCH)
bench-growth: $(READY) ## the same at 10 thousand, 1 million and 10 million orders; an hour and 60 GB of disk
	@$(BIN)/python -m bench growth $(BENCH)
bench-soak: $(READY) ## half load for MINUTES=30: memory, lag, silent consumers
	@$(BIN)/python -m bench soak --minutes $(or $(MINUTES),30) $(BENCH)
figures: $(READY) ## draw docs/performance/*.svg from the JSON beside them
	@$(BIN)/python -m bench figures
chaos: $(READY)   ## faults on real servers under load, for MINUTES=5 (or SHORT=1); then an audit
	@$(BIN)/python -m tests.chaos $(if $(SHORT),--short,--minutes $(or $(MINUTES),5)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED))
sim: $(READY)     ## faults in a simulation of everything, from SEED=1, for LIFECYCLES=1000000
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(LIFECYCLES),--lifecycles $(LIFECYCLES))
hostile: $(READY) ## MESSAGES=1000000 mutated Kafka messages, REQUESTS=100000 generated requests; then an audit
	@$(BIN)/python -m tests.hostile $(if $(MESSAGES),--messages $(MESSAGES)) $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(SEED),--seed $(SEED))
lock:             ## pin the newest versions that pyproject.toml allows
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --all-extras pyproject.toml -o requirements.lock --custom-compile-command "make lock"

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Throughline needs Python 3.11 or newer; choose one with: make PYTHON=/path/to/python3.11")'
	@echo "Installing Throughline's libraries into .venv (once, about 200 MB: a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)
