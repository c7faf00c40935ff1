# Two commands do everything: `make demo` and `make test`. `make help` lists the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPOSE ?= docker compose
JOBS ?= 6

#: Each job collects the tests: with bytecode that is kept it needs 4 s of CPU for that, without it 10 s.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
#: What converts office files and DjVu, and reads scripts that RapidOCR does not. Without them such files end as
#: `unsupported`, by name; `make test` installs them where it may. Redis is for the fleet's tests, Chromium for the viewer's.
SYSTEM_PACKAGES := libreoffice-impress libreoffice-writer libreoffice-calc libreoffice-draw python3-uno djvulibre-bin \
	chromium redis-server tesseract-ocr tesseract-ocr-osd tesseract-ocr-ara tesseract-ocr-heb tesseract-ocr-hin \
	tesseract-ocr-tha fonts-noto-core fonts-noto-cjk fonts-liberation fonts-crosextra-carlito fonts-crosextra-caladea
SYSTEM_PROGRAMS := soffice ddjvu tesseract chromium redis-server
#: Writes a lock: versions and hashes for every platform and Python that is supported, and no address of an index.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url pyproject.toml --extra local --extra s3 --extra evaluate --group build
#: The faults of docs/operations.md's table; `make soak` takes each of them ten times.
FAULTS := tests/faults/test_archive_missing.py tests/faults/test_damaged_files.py tests/unit/archive/test_newer_versions.py \
	tests/integration/test_redis_failover.py tests/faults/test_failing_archive.py tests/faults/test_full_disk.py \
	tests/faults/test_fleet_storage.py tests/integration/test_search_blocks.py tests/integration/test_beat.py \
	tests/faults/test_fleet_deaths.py
FAULT_ROUNDS := 1 2 3 4 5 6 7 8 9 10
#: Folders of tests that need no service, no browser and no office suite.
FAST := tests/unit

.PHONY: help demo test test-fast lint check lock system compose-check format soak bench samples kibana dashboard-data contact-sheet clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## Start a local Elasticsearch, index samples/, search them
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash docs/demo.sh

#: Tests of one file share what is dear to make, so a file is one job's; in the order of folders the long ones come first.
#: They wait for half of their time: six jobs keep two cores busy, and need 6 GB of memory.
test: lint system ## Run all checks and all tests, JOBS=6 files at once (each job starts an Elasticsearch of its own)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=10

test-fast: $(VENV)/.developed ## Run the unit tests but the slowest: they need no service
	@$(BIN)/python -m pytest -q -n logical --dist worksteal -m "not slow" --durations=10 $(FAST)

lint: $(VENV)/.developed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint ## Lint, types, layers, documentation, sizes, plain English
	@$(BIN)/python -m pytest -q tests/unit/project/test_docs.py tests/unit/project/test_imports.py \
		tests/unit/project/test_class_sizes.py tests/unit/project/test_plain_english.py

system: ## Install LibreOffice, DjVu tools, Tesseract and Chromium with apt-get, where they are missing and you are root
	@missing=$$(for program in $(SYSTEM_PROGRAMS); do command -v $$program >/dev/null || echo $$program; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(SYSTEM_PACKAGES) >/dev/null; \
	else echo "Not installed: $$missing. Tests that need them are skipped; on Debian: apt-get install $(SYSTEM_PACKAGES)"; fi

compose-check: ## Hold the Compose files against `docker compose config`; needs no engine
	@$(COMPOSE) version >/dev/null 2>&1 || { echo "There is no '$(COMPOSE)': the Compose files were not checked by it. tests/unit/project/test_compose.py still holds them."; exit 1; }
	@$(COMPOSE) --env-file /dev/null config --quiet
	@$(COMPOSE) --env-file /dev/null -f docker-compose.yml -f docker-compose.secure.yml config --quiet
	@echo "docker-compose.yml and docker-compose.secure.yml are sound."

lock: $(VENV)/bin/python ## Write requirements/ again from pyproject.toml: UPGRADE=1 takes newer versions
	@$(BIN)/python -m pip install --quiet 'uv>=0.9'
	@$(LOCK) $(if $(UPGRADE),--upgrade) --output-file requirements/run.txt
	@$(LOCK) $(if $(UPGRADE),--upgrade) --group dev --constraint requirements/run.txt --output-file requirements/dev.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --group fuzz $(if $(UPGRADE),--upgrade) --output-file requirements/fuzz.txt

format: $(VENV)/.developed ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

soak: $(VENV)/.developed ## Random faults, damaged files, very many documents: ROUNDS=… SEED=… MINUTES=10 DOCUMENTS=100000
	@$(BIN)/python -m pytest tests/faults/soak_random_faults.py
	@$(BIN)/python -m pytest tests/faults/soak_fuzzing.py
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/fuzz.txt
	@$(BIN)/python -m pytest tests/faults/soak_coverage_fuzzing.py
	@$(BIN)/python -m pytest tests/faults/soak_services.py
	@for round in $(FAULT_ROUNDS); do FAULT_SEED=$$round $(BIN)/python -m pytest $(FAULTS) || exit 1; done
	@$(BIN)/python -m pytest tests/faults/soak_reindex.py
	@$(BIN)/python -m pytest tests/faults/soak_fleet.py
	@$(BIN)/python bench/run.py soak_fleet

bench: $(VENV)/.developed ## Measure, and print docs/benchmarks.md's tables: ONLY="rendering recall"
	@$(BIN)/python bench/run.py $(ONLY)

samples: $(VENV)/.developed ## Make samples/ anew
	@$(BIN)/python tests/samples_maker/make_samples.py
	@$(BIN)/python tests/samples_maker/contact_sheet.py

kibana: $(VENV)/.developed ## Build mappings/kibana/ from the declarations in tools/kibana/
	@$(BIN)/python -m tools.kibana

dashboard-data: $(VENV)/.developed ## Draw docs/dashboard-data.jpg from the configured cluster (needs Chromium)
	@$(BIN)/python tests/samples_maker/dashboard_data.py

contact-sheet: $(VENV)/.developed ## Draw the pages of FOLDER (the corpus) side by side in build/contact-sheets: PAGES=3
	@$(BIN)/python bench/contact_sheet.py $(FOLDER) --pages $(or $(PAGES),3)

clean: ## Remove the virtual environment and caches; homes stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# `--editable` after the locked packages adds Pagesight alone; what builds it is in the lock, too.
$(VENV)/.installed: pyproject.toml requirements/run.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/run.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.developed: requirements/dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@
