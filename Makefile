# Gatepost: everything a person runs, by name. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Looked up only when a virtual environment is made; some machines have a newer python3 beside 3.11.
PYTHON ?= $(shell for p in python3.11 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq
HASHED := $(PIP) --require-hashes --no-deps
# Threads of scikit-learn wait by spinning: on a machine that is not idle they cost many times what they save.
TRAINING := ORT_DISABLE_TELEMETRY=1 OMP_NUM_THREADS=1
SOURCES := agent simulators tests models ignition_project

# What is asked for on the command line: make run SOURCE=mqtt, make e2e SEED=7, make test TESTS=tests/unit,
# make evaluate DATA=folder-of-public-data PARTS="steel nab"
SOURCE ?= mqtt
TESTS ?= tests
ALONE := tests/unit/test_cli_look.py tests/integration/test_cli.py # widths of lines, ports: not beside others
SEED ?=
EVENTS ?=
KILLS ?=
WORDS ?=
DATA ?=
PARTS ?=

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | \
	  while IFS='|' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

# ── what must be there; a stamp tells that it is ────────────────────────────────────────────────────────────

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; say where it is: make PYTHON=/path/to/python3.11"; exit 2; }
	@.ci/need ensurepip $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: requirements/build.txt requirements/runtime.txt pyproject.toml | $(VENV)/.made
	@echo "installing the pinned packages into $(VENV)"
	@$(HASHED) -r requirements/build.txt -r requirements/runtime.txt
	@$(PIP) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "installing what checks and tests need into $(VENV)"
	@$(HASHED) -r requirements/dev.txt
	@touch $@

$(VENV)/.training: requirements/train.txt $(VENV)/.runtime
	@echo "installing what training needs into $(VENV)"
	@$(HASHED) -r requirements/train.txt
	@touch $@

.PHONY: training
training: $(VENV)/.training ## add to .venv what `gatepost models train` needs

.PHONY: setup
setup: $(VENV)/.runtime ## make .venv with the pinned packages and the gatepost command

# ── running it ──────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: run
run: $(VENV)/.runtime ## start the bench: broker, simulated line and SAP, agent, bench gateway (SOURCE=mqtt, sparkplug or opcua; STORY=scrap, backflush, reconcile or order-release plays one); Ctrl-C ends it
	@exec $(BIN)/python -m simulators.bench --source $(SOURCE) $(if $(STORY),--story $(STORY))

# ── proving it ──────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: check
check: $(VENV)/.dev ## lint, format, types, import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.dev ## mend what ruff can mend by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: tools
tools:
	@.ci/need mosquitto
	@.ci/need chromium strace gcc unshare setpriv jython || echo "going on without: tests that need them are skipped with a reason"

.PHONY: test
test: check tools ## set up what the tests need, check, run the tests (TESTS=tests/unit for some of them)
	@case "$(TESTS)" in tests|"tests "*) $(BIN)/python -m pytest -m "not soak and not e2e" $(ALONE);; esac
	$(BIN)/python -m pytest -n 3 --dist loadfile $(ALONE:%=--ignore=%) -m "not soak and not e2e" $(TESTS)

.PHONY: e2e
e2e: $(VENV)/.dev tools ## exactly once, with kills and faults (SEED= EVENTS= KILLS=), writes build/e2e.json
	@mkdir -p build
	SEED=$(SEED) EVENTS=$(EVENTS) KILLS=$(KILLS) $(BIN)/python -m pytest -s -m e2e tests/e2e

.PHONY: soak
soak: $(VENV)/.dev tools ## the fault tests at full size, half an hour (SOAK_MINUTES=60 for an hour of load)
	$(BIN)/python -m pytest -s -m soak -o faulthandler_timeout=3600 --durations=0 --durations-min=1 tests

.PHONY: remedies
remedies: $(VENV)/.dev tools ## take the remedies of faults out of a copy one by one and see the tests fail (WORDS="lock settle")
	$(BIN)/python -m tests.remedies $(WORDS)

.PHONY: bench
bench: $(VENV)/.dev tools ## measure intake, whole path, dispatch, latency; writes build/bench.json
	@mkdir -p build
	$(BIN)/python -m tests.bench

.PHONY: evaluate
evaluate: $(VENV)/.dev ## measure the models on simulated data, and on public data (DATA=folder PARTS="steel"); writes build/evaluate.json
	$(TRAINING) $(BIN)/python -m models.evaluation $(if $(DATA),--data "$(DATA)") $(if $(PARTS),--only $(PARTS))

# ── making what is committed ────────────────────────────────────────────────────────────────────────────────

.PHONY: models
models: $(VENV)/.dev ## train the models on the simulated line
	for name in consumption_anomaly scrap_classification order_feasibility shortage_forecast posting_classification; do \
	  $(TRAINING) $(BIN)/python -m models.$$name.train; done

.PHONY: ignition
ignition: $(VENV)/.made ## build what Ignition 8.3 and 8.1 import, in build/ignition
	@$(BIN)/python ignition_project/build.py

.PHONY: docs
docs: $(VENV)/.dev ## write the generated pages and run what the pages say
	$(BIN)/python docs/configuration.py
	$(BIN)/python docs/cli.py
	$(BIN)/python -m pytest tests/docs

.PHONY: lock
lock: $(VENV)/.made ## pin the requirements again, with hashes (needs uv and the network); keeps what still fits
	for set in build runtime train dev; do \
	  uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11 \
	    requirements/$$set.in -o requirements/$$set.txt; done
	$(BIN)/python docs/platforms.py

.PHONY: clean
clean: ## remove what was built; .venv and data stay
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
