# Every target is one line that calls `winnow VERB`; no logic lives here but the set-up.
#
# A variable given on the command line becomes the verb's flag of the same name: `make train CONFIG=x.yaml TRIALS=50`
# runs `winnow train --config x.yaml --trials 50`; `make train --help` belongs to make, `.venv/bin/winnow train --help`
# lists the flags.

PYTHON      ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3) python3)
TORCH_INDEX ?=
VENV        := .venv
WINNOW       = $(VENV)/bin/winnow
PIP          = $(VENV)/bin/python -m pip --quiet --disable-pip-version-check --no-input
# Two processes, for tests wait as much as they compute; `ARGS="-n 0"` runs them in one, as --pdb needs it.
PYTEST       = $(VENV)/bin/pytest -n 2 --dist worksteal
STAMP       := $(VENV)/.set-up

# Flags without a value: DRY_RUN=1 is --dry-run, DRY_RUN=0 is nothing.
SWITCHES := ALL ALLOW_CHANGED_CODE DRY_RUN EXIT_CODE FOLLOW FORCE JSON KEEP NO_CACHE VOLUMES YES
GIVEN     = $(filter-out ARGS PYTHON TORCH_INDEX UPGRADE VENV,$(strip $(foreach name,$(.VARIABLES),\
              $(if $(filter command line,$(origin $(name))),$(name)))))
flag      = --$(shell echo $(1) | tr 'A-Z_' 'a-z-')
quoted    = '$(subst ','\'',$(1))'
FLAGS     = $(foreach name,$(GIVEN),$(if $(filter $(name),$(SWITCHES)),\
              $(if $(filter-out 0,$($(name))),$(call flag,$(name))),$(call flag,$(name)) $(call quoted,$($(name)))))

.DEFAULT_GOAL := help
.PHONY: help setup retry demo test test-docker test-kubernetes check lint format lock docs train train-docker train-kubernetes select-model prod-local prod-docker prod-kubernetes prod-status prod-remove rollback \
        inference-one inference-one-input report ui generate-data jobs logs cancel studies delete-study mlflow-init mlflow-remove kubernetes-secrets \
        compose-logs build-train build-prod bench diff clean

help: ## Print this list
	@echo "make TARGET [VARIABLE=value …]      a variable is the flag of the same name: TRIALS=50 is --trials 50"
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / { n = split($$1, names, " "); for (i = 1; i <= n; i++) printf "  %-19s %s\n", names[i], $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv from requirements.lock; TORCH_INDEX=URL installs torch from another package index
	@:

demo: setup ## Sweep a real data set, select, serve and predict (KEEP=1 keeps serving)
	@$(WINNOW) demo $(FLAGS)

generate-data: setup ## Write a synthetic data set with a known answer (KIND=churn|weather, ROWS, OUTPUT)
	@$(WINNOW) generate-data $(FLAGS)

train: setup ## Run a study's trials on local processes; again: resume or attach (CONFIG, STUDY, TRIALS, WORKERS)
	@$(WINNOW) train $(FLAGS)

train-docker: setup ## The same sweep in containers, after mlflow-init and build-train (CONFIG, STUDY, TRIALS, WORKERS, IMAGE)
	@$(WINNOW) train --platform docker $(FLAGS)

train-kubernetes: setup ## The same sweep in pods (CONFIG, STUDY, TRIALS, WORKERS, IMAGE, REGISTRY or IMAGE_LOAD)
	@$(WINNOW) train --platform kubernetes $(FLAGS)

retry: setup ## Train failed trials again (CONFIG, STUDY, PLATFORM, ALLOW_CHANGED_CODE=1)
	@$(WINNOW) retry $(FLAGS)

jobs: setup ## List the running workers, on all platforms (STUDY, PLATFORM)
	@$(WINNOW) jobs $(FLAGS)

logs: setup ## Print the workers' logs, including finished workers' (STUDY, WORKER, FOLLOW=1, PLATFORM)
	@$(WINNOW) logs $(FLAGS)

cancel: setup ## Stop a study's workers and return their trials to the study (STUDY, PLATFORM)
	@$(WINNOW) cancel $(FLAGS)

studies: setup ## List all studies: state, trials, best value, running workers (JSON=1)
	@$(WINNOW) studies $(FLAGS)

delete-study: setup ## Delete a study with its logs and report; models and runs stay (STUDY, YES=1, DRY_RUN=1)
	@$(WINNOW) delete-study $(FLAGS)

report: setup ## Write a study's report as one HTML page (CONFIG, STUDY, OUTPUT)
	@$(WINNOW) report $(FLAGS)

select-model: setup ## Pick the best run that passes the rules, and show why others did not (CONFIG, STUDY, RULES, ALL=1, EXPLAIN=RUN)
	@$(WINNOW) select-model $(FLAGS)

build-train: setup ## Build the images of workers, with your code, and of MLflow (TORCH_INDEX, BASE_IMAGE, REQUIREMENTS, EXTRAS, REGISTRY)
	@$(WINNOW) build-train $(FLAGS) $(if $(TORCH_INDEX),--torch-index $(call quoted,$(TORCH_INDEX)))

build-prod: setup ## Build the image that serves the selected model (CONFIG, STUDY, VERSION, BASE_IMAGE, TAG, REGISTRY)
	@$(WINNOW) build-prod $(FLAGS)

prod-local: setup ## Serve the selected model on this machine (CONFIG, STUDY, VERSION, REPLICAS, PORT)
	@$(WINNOW) prod --platform local $(FLAGS)

prod-docker: setup ## Serve the selected model in containers behind one entry point (CONFIG, STUDY, VERSION, REPLICAS, PORT)
	@$(WINNOW) prod --platform docker $(FLAGS)

prod-kubernetes: setup ## Serve the selected model in pods behind an Ingress (CONFIG, STUDY, VERSION, REPLICAS, HOST, REGISTRY or IMAGE_LOAD)
	@$(WINNOW) prod --platform kubernetes $(FLAGS)

prod-status: setup ## Show what is being served, by default on all platforms (PLATFORM)
	@$(WINNOW) prod-status $(FLAGS)

prod-remove: setup ## Stop serving (STUDY or CONFIG if there are several deployments, PLATFORM)
	@$(WINNOW) prod-remove $(FLAGS)

rollback: setup ## Serve the previous model again (STUDY or CONFIG, PLATFORM)
	@$(WINNOW) rollback $(FLAGS)

inference-one inference-one-input: setup ## Get one prediction from a served model (INPUT=file.json, STUDY or CONFIG, PLATFORM)
	@$(WINNOW) inference-one $(FLAGS)

ui: setup ## Start MLflow's web interface (PORT)
	@$(WINNOW) ui $(FLAGS)

mlflow-init: setup ## Start Postgres, MinIO and MLflow; all commands use them from then on (MLFLOW_PORT; PLATFORM=kubernetes: REGISTRY, IMAGE_LOAD)
	@$(WINNOW) mlflow-init $(FLAGS)

mlflow-remove: setup ## Remove the stack; its data stays unless VOLUMES=1 (PLATFORM, FORCE=1)
	@$(WINNOW) mlflow-remove $(FLAGS)

kubernetes-secrets: setup ## Create the Secret that `kubectl apply -k k8s/tracking` needs; existing passwords stay
	@$(WINNOW) kubernetes-secrets $(FLAGS)

compose-logs: setup ## Print the stack's logs, on Docker (SERVICE=mlflow, FOLLOW=1)
	@$(WINNOW) compose-logs $(FLAGS)

diff: setup ## Show what mlflow-init and prod on Kubernetes would change in the cluster (CONFIG, STUDY, PART=stack|prod)
	@$(WINNOW) diff $(FLAGS)

test: setup ## Run the tests that need no daemon (ARGS="-k worker" passes arguments to pytest)
	@$(PYTEST) -m "not docker and not kubernetes" $(ARGS)

test-docker: setup ## Run the tests that need a Docker engine (ARGS)
	@$(VENV)/bin/pytest -m docker $(ARGS)

test-kubernetes: setup ## Run the tests that need a cluster; set WINNOW_REGISTRY and WINNOW_INGRESS_URL (ARGS)
	@$(VENV)/bin/pytest -m kubernetes $(ARGS)

check: setup lint ## Check format, lint, types, import contracts and generated documents, then the quick tests
	@$(PYTEST) -m "not slow and not docker and not kubernetes" tests/unit tests/contracts

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
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
ifneq ($(TORCH_INDEX),)
	@$(PIP) install --force-reinstall --no-deps --index-url $(TORCH_INDEX) $$(grep ^torch== requirements.lock)
endif
	@$(PIP) install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@echo "$(TORCH_INDEX)" > $@
	@echo "$(VENV) is ready; it is kept until requirements.lock or pyproject.toml changes."
