# make demo      install, run the demo coins through the whole corridor, print the verdicts
# make test      install, run the default tests
# make slow      install, run the long tests and those on real candles
# make browser   install, run the tests that look at the web UI with a headless Chromium
# make check     install, run every static check and the default tests
# make web       install, serve the web UI on the loopback interface
# make nightly   install, materialize every configured coin; JOBS=2 takes two at a time
# make audit     install, ask whether any installed package has a known vulnerability

PYTHON ?= python3
PORT ?= 3000
JOBS ?= 1
# cpu or gpu: which build of xgboost is installed; each has an environment of its own, since both are one import
COMPUTE ?= cpu

VENV := $(if $(filter gpu,$(COMPUTE)),.venv-gpu,.venv)
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
# one worker per core; the tests of a module share what it makes once
IN_PARALLEL := -n auto --dist loadscope

export DAGSTER_HOME := $(CURDIR)

.PHONY: demo test slow browser check audit web nightly clean
.DEFAULT_GOAL := demo

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(COMPUTE)]'
	touch $@

$(READY_DEV): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(COMPUTE),dev]'
	touch $@

demo: $(READY)
	CRP_SOURCE=demo CRP_COINS="[]" CRP_THREADS=2 $(BIN)/python -m crp_pipeline.nightly

nightly: $(READY)
	$(BIN)/python -m crp_pipeline.nightly --jobs $(JOBS)

web: $(READY)
	$(BIN)/dagster dev --host 127.0.0.1 --port $(PORT)

test: $(READY_DEV)
	$(BIN)/python -m pytest $(IN_PARALLEL)

slow: $(READY_DEV)
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "slow or market_data"

browser: $(READY_DEV)
	$(BIN)/python -m pytest -m browser

check: $(READY_DEV)
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/dg check defs && $(BIN)/python -m pytest $(IN_PARALLEL)
	$(BIN)/python -m crp_pipeline_tests.audit

audit: $(READY_DEV)
	$(BIN)/python -m crp_pipeline_tests.audit

clean:
	rm -rf $(VENV) build *.egg-info
