# Everything a developer or a newcomer runs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .venvs/uv/bin/uv
BIN := .venv/bin
SAM := .venvs/sam/bin/sam
# sam build looks for pythonX.Y on the PATH; the environment has the one it was made from.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# The machine's own certificates, so that a company's proxy is trusted as pip trusts it.
export UV_SYSTEM_CERTS := true
export SAM_CLI_TELEMETRY := 0
export AWS_EC2_METADATA_DISABLED := true

WORKERS ?= 2

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

# ---- Set-up: each step has a stamp, and is skipped when what it is made from has not changed ------------------------
.PHONY: setup
setup: .venv/.stamp .venvs/sam/.stamp ## Make the environments; skipped when current

.venvs/uv/.stamp:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11, 3.12 or 3.13 is needed, {v.major}.{v.minor} was found. Name another one: make PYTHON=python3.12 ...")'
	@echo "==> [1/3] Installer (uv $(UV_VERSION))"
	@rm -rf .venvs/uv && $(PYTHON) -m venv .venvs/uv && .venvs/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/.stamp: .venvs/uv/.stamp requirements.lock pyproject.toml
	@echo "==> [2/3] Python environment .venv (about 2 GB, most of it TensorFlow; 1 to 3 minutes the first time)"
	@test -x $(BIN)/python || $(UV) venv --quiet --seed --python $(PYTHON) .venv  # sam build wants pip
	@$(UV) pip sync --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.venvs/sam/.stamp: .venvs/uv/.stamp tools/sam.lock
	@echo "==> [3/3] SAM CLI, in an environment of its own: it pins its own boto3"
	@test -x .venvs/sam/bin/python || $(UV) venv --quiet --python $(PYTHON) .venvs/sam
	@$(UV) pip sync --quiet --require-hashes --python .venvs/sam/bin/python tools/sam.lock
	@touch $@

.venvs/sdk/.stamp: .venvs/uv/.stamp tools/sdk.lock
	@echo "==> SageMaker SDK, for its tests, in an environment of its own: half a gigabyte that nothing else needs"
	@test -x .venvs/sdk/bin/python || $(UV) venv --quiet --python $(PYTHON) .venvs/sdk
	@$(UV) pip sync --quiet --require-hashes --python .venvs/sdk/bin/python tools/sdk.lock
	@touch $@

.venvs/evidently/.stamp: .venvs/uv/.stamp tools/evidently.lock
	@echo "==> Evidently, for a benchmark, in an environment of its own: 0.7 GB that nothing else needs"
	@test -x .venvs/evidently/bin/python || $(UV) venv --quiet --python $(PYTHON) .venvs/evidently
	@$(UV) pip sync --quiet --require-hashes --python .venvs/evidently/bin/python tools/evidently.lock
	@touch $@

# ---- What people use ------------------------------------------------------------------------------------------------
.PHONY: demo up down image
demo: setup ## From three uploaded files to a registered model, on the embedded cloud
	@$(BIN)/onwing demo $(ARGS)

up: setup ## Start the embedded cloud and deploy the stack to it
	@$(BIN)/onwing up $(ARGS)

down: .venv/.stamp ## Stop the embedded cloud
	@$(BIN)/onwing down $(ARGS)

image: ## Build the training image for `onwing up --docker`; ONWING_BUILD_OPTIONS are docker's, say for another base
	@docker build $(ONWING_BUILD_OPTIONS) --file training_image/Dockerfile --tag onwing-turbofan:local .

# ---- Tests ----------------------------------------------------------------------------------------------------------
.PHONY: test unit lint bench
test: setup lint .venvs/sdk/.stamp ## Every test (CMAPSS_DIR names the real data set's folder; without it those tests are skipped)
	@echo "==> Unit tests and state machines"
	@$(BIN)/pytest -q -n $(WORKERS) tests/unit tests/statemachines
	@echo "==> Integration and faults, on the embedded cloud"
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadscope tests/integration tests/faults
	@echo "==> End to end, with the training image's code (about 8 minutes)"
	@$(BIN)/pytest -q -n $(WORKERS) tests/e2e

unit: setup ## Unit and state machine tests only
	@$(BIN)/pytest -q -n $(WORKERS) tests/unit tests/statemachines

lint: setup ## ruff, mypy, sam validate --lint
	@echo "==> Lint"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@for handler in functions/*/app.py; do $(BIN)/mypy $$handler || exit 1; done  # all are called app
	@AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-us-east-1} $(SAM) validate --lint

# With no names all of them run.
bench: setup $(if $(filter evidently,$(or $(ARGS),evidently)),.venvs/evidently/.stamp) ## Measure; writes .onwing/bench.json
	@$(BIN)/python -m benchmarks $(ARGS)

# ---- Upkeep ---------------------------------------------------------------------------------------------------------
.PHONY: format docs lock clean
format: setup ## Format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: setup ## Write the parts of docs/ that are generated from the code
	@$(BIN)/python -m localcloud.reference

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
lock: .venvs/uv/.stamp ## Resolve every lock file anew from its direct requirements
	@$(COMPILE) pyproject.toml --all-extras --output-file requirements.lock
	@$(COMPILE) layers/control_plane/requirements.in --constraint requirements.lock --output-file layers/control_plane/requirements.txt
	@$(COMPILE) training_image/requirements.in --constraint requirements.lock --output-file training_image/requirements.txt
	@$(COMPILE) tools/sam.in --output-file tools/sam.lock
	@$(COMPILE) tools/sdk.in --output-file tools/sdk.lock
	@$(COMPILE) tools/evidently.in --output-file tools/evidently.lock

clean: ## Remove environments, builds and the embedded cloud's state
	@-test -x $(BIN)/onwing && $(BIN)/onwing down --yes
	@rm -rf .venv .venvs .aws-sam .onwing build *.egg-info
