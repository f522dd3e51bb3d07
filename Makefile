# The clone's own targets: the set-up of .venv, and the development of winnow. The verbs of `winnow` are in targets.mk,
# which `winnow init` copies into project folders. Every target is one line; no logic lives here but the set-up.

PYTHON      ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3) python3)
TORCH_INDEX ?=
VENV        := .venv
WINNOW       = $(VENV)/bin/winnow
PIP          = $(VENV)/bin/python -m pip --quiet --disable-pip-version-check --no-input
# Two processes, for tests wait as much as they compute; `ARGS="-n 0"` runs them in one, as --pdb needs it.
PYTEST       = $(VENV)/bin/pytest -n 2 --dist worksteal
STAMP       := $(VENV)/.set-up

include src/winnow/orchestrators/starter/targets.mk
.PHONY: setup test test-docker test-kubernetes test-tools test-spark check lint format lock docs bench bench-compare wheel clean

##@ Develop
setup: $(STAMP) ## Create .venv from requirements.lock; TORCH_INDEX=URL installs torch from another package index
	@:

test: setup ## Run the tests that need no daemon (ARGS="-k worker" passes arguments to pytest)
	@$(PYTEST) -m "not docker and not kubernetes and not tools and not spark" $(ARGS)

test-docker: setup ## Run the tests that need a Docker engine (ARGS)
	@$(VENV)/bin/pytest -m docker $(ARGS)

test-kubernetes: setup ## Run the tests that need a cluster; set WINNOW_REGISTRY and WINNOW_INGRESS_URL (ARGS)
	@$(VENV)/bin/pytest -m kubernetes $(ARGS)

test-tools: setup ## Run the tests that need Airflow, DVC or Feast, installed once into WINNOW_TOOLS (ARGS)
	@WINNOW_TOOLS="$${WINNOW_TOOLS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/winnow/tools}" $(PYTEST) -m tools $(ARGS)

test-spark: setup ## Run the tests that need Java 17 and Spark, installed once into WINNOW_TOOLS (ARGS)
	@WINNOW_TOOLS="$${WINNOW_TOOLS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/winnow/tools}" $(VENV)/bin/pytest -m spark $(ARGS)

check: setup lint ## Check format, lint, types, import contracts and generated documents, then the quick tests
	@$(PYTEST) -m "not slow and not docker and not kubernetes and not tools and not spark" tests/unit tests/contracts

lint: setup ## Check format, lint, words, types, import contracts and generated documents
	@$(VENV)/bin/ruff format --check --quiet . || { echo "make format would change the files above"; exit 1; }
	@$(VENV)/bin/ruff check --quiet .
	@.ci/words
	@$(VENV)/bin/mypy
	@contracts=$$($(VENV)/bin/lint-imports) || { echo "$$contracts"; exit 1; }; echo "$$contracts" | tail -n 1
	@$(WINNOW) config-reference --check

format: setup ## Format the code and apply lint's fixes
	@$(VENV)/bin/ruff format --quiet . && $(VENV)/bin/ruff check --fix .

docs: setup ## Write the generated parts of the documents
	@$(WINNOW) config-reference --write

lock: setup ## Pin the dependencies of pyproject.toml in requirements.lock; UPGRADE=1 takes the newest versions
	@CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile $(if $(UPGRADE),--upgrade) --output-file requirements.lock pyproject.toml
	@# A wheel built for one machine is called 2.13.0+cpu; what is pinned is 2.13.0.
	@sed 's/^\([^ #]*==[^+ ]*\)+[^ ]*/\1/' requirements.lock > requirements.lock.new && mv requirements.lock.new requirements.lock

bench: setup ## Run the benchmarks; each prints one comparable figure
	@for script in benchmarks/*.py; do $(VENV)/bin/python "$$script" || exit 1; done

bench-compare: setup ## Compare the quick benchmarks with an earlier run's (ARGS="--output FILE --previous FILE")
	@$(VENV)/bin/python benchmarks/nightly/compare.py $(ARGS)

wheel: setup ## Build the wheel into dist/
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

clean: ## Remove .venv and caches; studies and models stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

# The set-up runs again where the lock, the project's own metadata or the wanted package index has changed.
# `make build-train` means the image's torch, and leaves this machine's alone.
ifneq ($(if $(filter build-train,$(MAKECMDGOALS)),,$(TORCH_INDEX)),)
ifneq ($(TORCH_INDEX),$(shell cat $(STAMP) 2>/dev/null))
.PHONY: $(STAMP)
endif
endif

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is no Python 3.11 or newer. Name one: make $(or $(MAKECMDGOALS),setup) PYTHON=…"; exit 1; }
	@echo "Setting up $(VENV): $$(grep -c == requirements.lock) packages from requirements.lock (a minute or two, once) …"
# The pip that came with Python may be years old, and three times as slow.
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear --upgrade-deps $(VENV)
ifneq ($(TORCH_INDEX),)
	@$(PIP) install --force-reinstall --no-deps --index-url $(TORCH_INDEX) $$(grep ^torch== requirements.lock)
endif
	@$(PIP) install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@echo "$(TORCH_INDEX)" > $@
	@echo "$(VENV) is ready; it is kept until requirements.lock or pyproject.toml changes."
