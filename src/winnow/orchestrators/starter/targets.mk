# A variable given on the command line becomes the verb's flag of the same name: `make train CONFIG=x.yaml TRIALS=50`
# runs `winnow train --config x.yaml --trials 50`. `make train --help` belongs to make; `winnow train --help` lists the
# flags.

# Flags without a value: DRY_RUN=1 is --dry-run, DRY_RUN=0 is nothing.
SWITCHES := AGAIN ALL ALLOW_CHANGED_CODE AZURE COMMIT DASHBOARD DETACH DRIFTED DRY_RUN EXIT_CODE FOLLOW FORCE IF_DUE INFER JSON KEEP NO_CACHE STRICT VOLUMES YES
# Variables of the Makefile itself, which are no flags; SPARK_MASTER reaches every verb by its environment.
OWN      := SPARK_MASTER ARGS DIR PYTHON TORCH_INDEX UPGRADE VENV WINNOW
GIVEN     = $(filter-out $(OWN),$(strip $(foreach name,$(.VARIABLES),\
              $(if $(filter command line,$(origin $(name))),$(name)))))
flag      = --$(shell echo $(1) | tr 'A-Z_' 'a-z-')
quoted    = '$(subst ','\'',$(1))'
FLAGS     = $(foreach name,$(GIVEN),$(if $(filter $(name),$(SWITCHES)),\
              $(if $(filter-out 0,$($(name))),$(call flag,$(name))),$(call flag,$(name)) $(call quoted,$($(name)))))

.DEFAULT_GOAL := help
.PHONY: help init demo demo-loop generate-data data-version ingest validate prepare pipeline train train-docker train-kubernetes retry jobs logs cancel studies delete-study \
        track-experiments report ui dashboard select-model evaluate compare-ab predict promote-model prod-local prod-docker prod-kubernetes prod-kserve prod-azure \
        prod-status prod-remove rollback monitor outcomes serve-hooks plan-rollout \
        rollout-status rollout-promote rollout-pause rollout-resume rollout-abort render \
        inference-one inference-one-input why retrain build-train build-prod mlflow-init mlflow-remove kubernetes-secrets \
        compose-logs monitoring-init monitoring-remove monitoring-rules spark-init spark-remove \
        airflow-local airflow-init airflow-remove airflow-logs airflow-dags audit ci-init diff feature-server install-tool schema \
        gitops-init gitops-promote gitops-rollback

##@ Start
help: ## Print this list
	@echo "make TARGET [VARIABLE=value …]     a variable is the flag of the same name:"
	@echo "                                   TRIALS=50 is --trials 50"
	@awk 'function wrap(text,    words, n, i, line) { \
	    n = split(text, words, " "); \
	    for (i = 1; i <= n + 1; i++) \
	      if (line != "" && (i > n || length(line) + length(words[i]) > 55)) { \
	        printf "  %-20s %s\n", name, line; name = ""; line = words[i] } \
	      else line = line == "" ? words[i] : line " " words[i] } \
	  /^##@ / { print "\n" substr($$0, 5) } \
	  /^[a-z][a-z -]*:.*## / { split($$0, parts, ":.*## "); split(parts[1], names, " "); name = names[1]; text = parts[2]; \
	    at = match(text, / \([A-Z_]+[^)]*\)$$/); \
	    if (at && length(text) > 56) { wrap(substr(text, 1, at - 1)); text = substr(text, at + 1) } \
	    wrap(text) }' $(wordlist 2,9,$(MAKEFILE_LIST)) $(firstword $(MAKEFILE_LIST))

init: setup ## Make a project folder of your own, anywhere (DIR)
	@$(WINNOW) init $(if $(DIR),$(call quoted,$(DIR))) $(FLAGS)

demo: setup ## Sweep a real data set, select, serve and predict (KEEP=1 keeps serving)
	@$(WINNOW) demo $(FLAGS)

demo-loop: setup ## Sweep, gates, canary, drift, alarm, retraining, new champion, in three minutes (KEEP=1 keeps serving)
	@$(WINNOW) demo-loop $(FLAGS)

generate-data: setup ## Write a synthetic data set with a known answer (KIND=churn|weather|images, ROWS, OUTPUT)
	@$(WINNOW) generate-data $(FLAGS)

schema: setup ## Print the JSON schema of experiment files, for editors (OUTPUT)
	@$(WINNOW) schema $(FLAGS)

##@ Data
data-version: setup ## Make a version of a file or folder by DVC, and copy it to the remote (INPUT, COMMIT=1, JSON=1)
	@$(WINNOW) data-version $(FLAGS)

ingest: setup ## Copy raw data to .winnow as Parquet, and only what is new of them (CONFIG, DRY_RUN=1, JSON=1)
	@$(WINNOW) ingest $(FLAGS)

validate: setup ## Check raw rows against data.schema (CONFIG, SCHEMA, HTML=page.html, JSON=1; INFER=1 writes a first schema, FORCE=1 anew)
	@$(WINNOW) validate $(FLAGS)

prepare: setup ## Compute the rows of data.source: prepared from raw ones (CONFIG, ENGINE=duckdb|polars|spark, SPARK_MASTER, DRY_RUN=1, JSON=1)
	@$(WINNOW) prepare $(FLAGS)

pipeline: setup ## Go from raw data to a served model: ingest, validate, prepare, train, select, serve (CONFIG, UNTIL=prepare|train|select, ENGINE, PLATFORM, RULES, DRY_RUN=1, JSON=1)
	@$(WINNOW) pipeline $(FLAGS)

##@ Sweep
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

build-train: setup ## Build the images of workers, with your code, and of MLflow (TORCH_INDEX, BASE_IMAGE, REQUIREMENTS, EXTRAS, REGISTRY)
	@$(WINNOW) build-train $(FLAGS) $(if $(TORCH_INDEX),--torch-index $(call quoted,$(TORCH_INDEX)))

##@ Look
studies: setup ## List all studies: state, trials, best value, running workers (JSON=1)
	@$(WINNOW) studies $(FLAGS)

track-experiments: setup ## List experiments with their models, and compare their studies (NAME, STUDY=a,b, HTML=page.html, JSON=1)
	@$(WINNOW) track-experiments $(FLAGS)

report: setup ## Write a study's report as one HTML page (CONFIG, STUDY, OUTPUT)
	@$(WINNOW) report $(FLAGS)

ui: setup ## Start MLflow's web interface (PORT)
	@$(WINNOW) ui $(FLAGS)

dashboard: setup ## Start Optuna's dashboard on the studies (PORT)
	@$(WINNOW) dashboard $(FLAGS)

delete-study: setup ## Delete a study with its logs and report; models and runs stay (STUDY, YES=1, DRY_RUN=1)
	@$(WINNOW) delete-study $(FLAGS)

##@ Select
select-model: setup ## Pick the best run that passes the rules, and show why others did not (CONFIG, STUDY, RULES, ALL=1, EXPLAIN=RUN)
	@$(WINNOW) select-model $(FLAGS)

evaluate: setup ## Measure a registered version on rows, with intervals (INPUT, VERSION or ALIAS, BY, METRIC, JSON=1)
	@$(WINNOW) evaluate $(FLAGS)

predict: setup ## Score the rows of a file with a registered version (INPUT, OUTPUT, CARRY, VERSION or ALIAS, FORCE=1, JSON=1)
	@$(WINNOW) predict $(FLAGS)

promote-model: setup ## Judge @candidate by the gates of a stage, and move the stage's alias (STAGE, VERSION, INPUT, RULES, JSON=1)
	@$(WINNOW) promote-model $(FLAGS)

compare-ab: setup ## Compare two registered versions on the same rows (A, B, INPUT, METRIC, JSON=1)
	@$(WINNOW) compare-ab $(FLAGS)

##@ Serve
build-prod: setup ## Build the image that serves the selected model (CONFIG, STUDY, VERSION, BASE_IMAGE, TAG, REGISTRY)
	@$(WINNOW) build-prod $(FLAGS)

prod-local: setup ## Serve the selected model on this machine (CONFIG, STUDY, VERSION, REPLICAS, PORT, DETACH=1, AGAIN=1)
	@$(WINNOW) prod --platform local $(FLAGS)

prod-docker: setup ## Serve the selected model in containers behind one entry point (CONFIG, STUDY, VERSION, REPLICAS, PORT, DETACH=1, AGAIN=1)
	@$(WINNOW) prod --platform docker $(FLAGS)

prod-kubernetes: setup ## Serve the selected model in pods behind an Ingress (CONFIG, STUDY, VERSION, REPLICAS, HOST, REGISTRY or IMAGE_LOAD, DETACH=1, AGAIN=1)
	@$(WINNOW) prod --platform kubernetes $(FLAGS)

prod-kserve: setup ## Serve the selected model by KServe (CONFIG, STUDY, VERSION, REPLICAS, REGISTRY or IMAGE_LOAD, DETACH=1, AGAIN=1)
	@$(WINNOW) prod --platform kserve $(FLAGS)

prod-azure: setup ## Serve the selected model on Azure ML (CONFIG, STUDY, VERSION, REPLICAS, REGISTRY, DETACH=1, AGAIN=1)
	@$(WINNOW) prod --platform azure $(FLAGS)

prod-status: setup ## Show what is being served, by default on all platforms (PLATFORM)
	@$(WINNOW) prod-status $(FLAGS)

prod-remove: setup ## Stop serving (STUDY or CONFIG if there are several deployments, PLATFORM)
	@$(WINNOW) prod-remove $(FLAGS)

rollback: setup ## Serve the previous model again (STUDY or CONFIG, PLATFORM, REASON)
	@$(WINNOW) rollback $(FLAGS)

serve-hooks: setup ## Roll back when an alert fires (ACTION=rollback, NAME, PLATFORM, PORT, MATCH)
	@$(WINNOW) serve-hooks $(FLAGS)

plan-rollout: setup ## Show how long the steps of a rollout take (RATE, CONFIG, STAGE, JSON=1)
	@$(WINNOW) plan-rollout $(FLAGS)

rollout-status: setup ## Show how a rollout goes (NAME, STAGE, PLATFORM, JSON=1)
	@$(WINNOW) rollout-status $(FLAGS)

rollout-promote: setup ## Send all requests to the candidate of a rollout (NAME, STAGE, PLATFORM)
	@$(WINNOW) rollout-promote $(FLAGS)

rollout-pause: setup ## Leave the weights of a rollout as they are (NAME, STAGE, PLATFORM)
	@$(WINNOW) rollout-pause $(FLAGS)

rollout-resume: setup ## Go on with a rollout that is paused, or whose process died (NAME, STAGE, PLATFORM, DETACH=1)
	@$(WINNOW) rollout-resume $(FLAGS)

rollout-abort: setup ## Send all requests back to the revision that served before (NAME, STAGE, PLATFORM, REASON)
	@$(WINNOW) rollout-abort $(FLAGS)

render: setup ## Print what a platform would be sent, without asking it (PLATFORM, IMAGE=…@sha256:…, CONFIG, STAGE, VERSION, KIND=timer|cronjob)
	@$(WINNOW) render $(FLAGS)

gitops-init: setup ## Write manifests into a clone, for Argo CD or Flux to apply (REPO, CONFIG, FORCE=1)
	@$(WINNOW) gitops-init $(FLAGS)

gitops-promote: setup ## Judge a version by a stage's gates, and commit it to the manifests (STAGE, REPO, BRANCH, IMAGE=…@sha256:…, REGISTRY, REPLICAS, VERSION, RULES, INPUT, AGAIN=1, JSON=1)
	@$(WINNOW) gitops-promote $(FLAGS)

gitops-rollback: setup ## Revert the last promotion of a stage by a commit (STAGE, REPO, BRANCH, REASON, JSON=1)
	@$(WINNOW) gitops-rollback $(FLAGS)

outcomes: setup ## Measure each revision by the outcomes of its predictions (INPUT, METRIC, NAME, OUTPUT=joined.parquet, JSON=1)
	@$(WINNOW) outcomes $(FLAGS)

inference-one inference-one-input: setup ## Get one prediction from a served model (INPUT=file.json, STUDY or CONFIG, PLATFORM)
	@$(WINNOW) inference-one $(FLAGS)

##@ Watch
monitor: setup ## Look for drift, worse outcomes and passed limits, and tell of alarms (NAME, STAGE, PLATFORM, PROMETHEUS, HTML=page.html, OUTPUT=gauges.prom, EVIDENTLY=page.html, JSON=1)
	@$(WINNOW) monitor $(FLAGS)

why: setup ## Say where a version comes from and what became of it (VERSION, ALIAS, RUN or REQUEST, INPUT, HTML=page.html, JSON=1)
	@$(WINNOW) why $(FLAGS)

retrain: setup ## Train the model again: next study, selection, gates, rollout (IF_DUE=1, CONFIG, RULES, PLATFORM, DRY_RUN=1, JSON=1)
	@$(WINNOW) retrain $(FLAGS)

##@ Stack
mlflow-init: setup ## Start Postgres, MinIO and MLflow; all commands use them from then on (MLFLOW_PORT; PLATFORM=kubernetes: REGISTRY, IMAGE_LOAD)
	@$(WINNOW) mlflow-init $(FLAGS)

mlflow-remove: setup ## Remove the stack; its data stays unless VOLUMES=1 (PLATFORM, FORCE=1)
	@$(WINNOW) mlflow-remove $(FLAGS)

kubernetes-secrets: setup ## Create the Secret that `kubectl apply -k k8s/tracking` needs; existing passwords stay
	@$(WINNOW) kubernetes-secrets $(FLAGS)

compose-logs: setup ## Print the stack's logs, on Docker (SERVICE=mlflow, FOLLOW=1)
	@$(WINNOW) compose-logs $(FLAGS)

monitoring-init: setup ## Start Prometheus, Alertmanager and Grafana, which watch deployments (CONFIG, PLATFORM, HOOKS, ALERTMANAGER_CONFIG, GRAFANA=off)
	@$(WINNOW) monitoring-init $(FLAGS)

monitoring-remove: setup ## Remove them; measurements and rules stay unless VOLUMES=1 (PLATFORM, FORCE=1)
	@$(WINNOW) monitoring-remove $(FLAGS)

monitoring-rules: setup ## Print Prometheus rules, for a Prometheus of your own (CONFIG; DASHBOARD=1: Grafana's dashboard)
	@$(WINNOW) monitoring-rules $(FLAGS)

airflow-dags: setup ## Write DAGs of Airflow that call these verbs for an experiment (CONFIG, RULES, OUTPUT=airflow/dags, AZURE=1, FORCE=1)
	@$(WINNOW) airflow-dags $(FLAGS)

ci-init: setup ## Write the pipeline of a project, whose stages call these targets (KIND=github|jenkins|gitlab, CONFIG, RULES, SOURCE, FORCE=1)
	@$(WINNOW) ci-init $(FLAGS)

airflow-local: setup ## Run Airflow on this machine, without Docker, until Ctrl-C (DAGS=airflow/dags, PORT, PARALLELISM)
	@$(WINNOW) airflow-local $(FLAGS)

airflow-init: setup ## Start Airflow in containers; again: with changed DAGs (PORT, PARALLELISM; PLATFORM=kubernetes prints manifests: REGISTRY)
	@$(WINNOW) airflow-init $(FLAGS)

airflow-remove: setup ## Remove it; its runs and secrets stay unless VOLUMES=1 (FORCE=1)
	@$(WINNOW) airflow-remove $(FLAGS)

airflow-logs: setup ## Print Airflow's logs, on Docker (SERVICE=scheduler, FOLLOW=1)
	@$(WINNOW) airflow-logs $(FLAGS)

spark-init: setup ## Start a master and a worker of Spark, for prepare; its page is on port 8081 (CORES, MEMORY, SPARK_PORT, PAGE_PORT)
	@$(WINNOW) spark-init $(FLAGS)

spark-remove: setup ## Remove them; prepared rows stay (FORCE=1)
	@$(WINNOW) spark-remove $(FLAGS)

audit: setup ## List software and licences of this project and its images, and look for known faults (IMAGE, OUTPUT, KEY or IDENTITY and ISSUER, STRICT=1, JSON=1)
	@$(WINNOW) audit $(FLAGS)

diff: setup ## Show what mlflow-init and prod on Kubernetes would change in the cluster (CONFIG, STUDY, PART=stack|prod)
	@$(WINNOW) diff $(FLAGS)

feature-server: setup ## Serve Feast's features to replicas that look them up (CONFIG, HOST, PORT)
	@$(WINNOW) feature-server $(FLAGS)

install-tool: setup ## Install a tool in an environment of its own, which winnow calls as a process (TOOL=airflow|audit|dvc|evidently|feast|spark)
	@$(WINNOW) install-tool $(FLAGS)
