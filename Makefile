# Two commands do everything: `make demo` and `make test`. `make help` lists the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPOSE ?= docker compose

.DEFAULT_GOAL := help
.PHONY: help demo test check compose-check format soak bench samples clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## Start a local Elasticsearch, index samples/, search them
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash docs/demo.sh

test: check ## Run all checks and all tests (starts its own Elasticsearch)
	@$(BIN)/python -m pytest

check: $(VENV)/.developed ## Lint, types, layers, documentation
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/unit/test_docs.py

compose-check: ## Hold docker-compose.yml against `docker compose config`; needs no engine
	@$(COMPOSE) version >/dev/null 2>&1 || { echo "There is no '$(COMPOSE)': docker-compose.yml was not checked."; exit 1; }
	@ELASTIC_PASSWORD=x KIBANA_PASSWORD=x REDIS_PASSWORD=x $(COMPOSE) --env-file /dev/null config --quiet
	@echo "docker-compose.yml is sound."

format: $(VENV)/.developed ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

soak: $(VENV)/.developed ## Random faults at random moments, and very many documents: ROUNDS=… SEED=… DOCUMENTS=100000
	@$(BIN)/python -m pytest tests/faults/soak_random_faults.py
	@$(BIN)/python -m pytest tests/faults/soak_fleet.py
	@$(BIN)/python bench/run.py soak_fleet

bench: $(VENV)/.developed ## Measure, and print docs/benchmarks.md's tables
	@$(BIN)/python bench/run.py

samples: $(VENV)/.developed ## Make samples/ anew
	@$(BIN)/python tests/samples_maker/make_samples.py
	@$(BIN)/python tests/samples_maker/contact_sheet.py

clean: ## Remove the virtual environment and caches; .pagesight/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[local]'
	@touch $@

$(VENV)/.developed: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@
