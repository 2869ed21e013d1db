# Each target is a thin alias: what it prints is what runs. Variables: PROFILE=laptop TEXT=folder ARTIFACT=gguf-q8_0 PYTHON=python3.12
PYTHON ?= python3
ARTIFACT ?= gguf-q4_k_m
PORT ?= 5000
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export MLFLOW_LOGGING_LEVEL := WARNING
export PYTHONUNBUFFERED := 1
export PYTHONDONTWRITEBYTECODE :=  # uv compiles nothing: sixty processes would (torch and transformers: 12 s, else 4)
export TOKENIZERS_PARALLELISM := false
LOOPBACK := localhost:$(PORT),127.0.0.1:$(PORT)

.PHONY: help env repro test check ui server find reproduce compare chat serve wheels plan preview doctor bench ablate eval
.DEFAULT_GOAL := help

help:    ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 16

env:     ## make .venv if it is not complete (every target below does)
	@$(PYTHON) tools/environment.py

repro: env ## raw text in, a quantized Mini out, then the result table   (PROFILE=demo|laptop|h200|paper TEXT=folder)
	@python -m tools.settings --profile "$(PROFILE)" --text "$(TEXT)"
	@python -m pipelines._stage
	dvc repro
	@python -m tools.table

test: env ## all tests
	pytest

check: env ## what a change must pass: style, types, walls, fast tests
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	pytest -m "not slow"

ui: env  ## MLflow's pages on http://127.0.0.1:5000   (PORT=5001)
	mlflow ui --backend-store-uri sqlite:///mlflow.db --workers 1 --host 127.0.0.1 --port $(PORT) --allowed-hosts "$(LOOPBACK)"

server: env ## a team's MLflow on a PostgreSQL of its own, this machine only   (PORT=5001 PLACE=folder HOSTS=mlflow.team.example)
	@python -m tools.server --port $(PORT) $(if $(PLACE),--place "$(PLACE)") --hosts "$(HOSTS)"

find: env ## which run made or read a file, or what a run read and made   (MD5=… or RUN=…)
	@python -m tools.find $(if $(MD5),--md5 "$(MD5)",--run "$(RUN)")

reproduce: env ## a run's commit, params and data, beside this clone, md5s checked   (RUN=… PLACE=folder)
	@python -m tools.reproduce --run "$(RUN)" $(if $(PLACE),--place "$(PLACE)")

compare: env ## params, data and metrics of two runs, git revisions or reports folders   (A=HEAD~1 B=reports)
	@python -m tools.compare --a "$(A)" --b "$(B)"

chat: env ## talk to an exported Mini   (ARTIFACT=gguf-q8_0)
	@midm-mini chat artifacts/export/$(ARTIFACT)

serve: env ## an exported Mini behind OpenAI's API on http://127.0.0.1:8000/v1   (ARTIFACT=gguf-q8_0)
	@midm-mini serve artifacts/export/$(ARTIFACT)

wheels: env ## dist/: what another machine installs without a compiler
	@python -m tools.wheels dist

plan: env ## what a profile would do: stages, tokens, minutes, memory, disk   (PROFILE=h200, or PROFILE=paper GPUS=64 MFU=0.4)
	@python -m tools.plan --profile "$(PROFILE)" $(if $(GPUS),--gpus $(GPUS)) $(if $(MFU),--mfu $(MFU))

preview: env ## the filter's rules on 1,000 documents, before and after   (TEXT=folder)
	@python -m tools.settings --profile "$(PROFILE)" --text "$(TEXT)"
	@python -m pipelines._preview

doctor:  ## is this machine fit, and what to do if not
	@$(PYTHON) tools/doctor.py

bench: env ## load, first token, reading, writing, memory of every artifact on this machine, and which to take
	@mkdir -p logs/bench
	@for it in artifacts/export/*/; do midm-mini bench $$it --json logs/bench/$$(basename $$it).json; done
	@python -m tools.which

ablate: env ## what each choice is worth: lines that differ in one thing, over seeds; goes on where it stopped   (ROWS="depth synthetic" SEEDS="1 2 3")
	dvc repro
	@python -m tools.ablate --rows $(ROWS) --seeds $(SEEDS)
	dvc repro report

eval: env ## public benchmarks put to models   (MODEL="artifacts/dpo …" TASKS="klue_nli …" EVAL_DATA=folder LIMIT=100 SHOTS=0)
	@python -m tools.judge --models $(or $(MODEL),artifacts/extend artifacts/dpo $(wildcard artifacts/export/*)) --tasks $(TASKS) \
		$(if $(EVAL_DATA),--data $(EVAL_DATA)) $(if $(LIMIT),--limit $(LIMIT)) $(if $(SHOTS),--shots $(SHOTS))
