# Everything a newcomer needs: `make demo`, `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOBERT := $(BIN)/sobert
# Processes beside each other: threads of PyTorch that wait for a core keep it busy.
ONE_THREAD := OMP_NUM_THREADS=1
PAPER  ?= demo/paper
TASKS  := quality closed ner obsoletion
IN_STORE = --store $(PAPER)/store
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo paper test test-slow check format bench golden clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.core  ## build the sample dump into a corpus and a benchmark, and say where they lie
	@$(BIN)/sobert corpus demo-dump demo/dump > /dev/null
	@$(BIN)/sobert corpus build datacards/demo/recipe.toml --dump demo/dump --store demo/store --workers 2
	@$(BIN)/sobert labeling build closed datacards/demo-closed/recipe.toml --store demo/store
	@printf '\nTry next:\n'
	@printf '  %s\n' \
	  'open the report (the .html above) in a browser' \
	  '$(BIN)/sobert corpus sample demo --store demo/store' \
	  '$(BIN)/sobert corpus show   demo --store demo/store' \
	  '$(BIN)/sobert corpus verify demo --store demo/store' \
	  '$(BIN)/sobert labeling probe demo-closed --store demo/store'

paper: $(VENV)/.test  ## all of it on invented data, from a dump to a report of four tasks
	@$(SOBERT) corpus demo-dump $(PAPER)/dump --paper > /dev/null
	@$(SOBERT) labeling demo-ner $(PAPER)/ner > /dev/null
	@$(SOBERT) corpus build datacards/paper/recipe.toml --dump $(PAPER)/dump $(IN_STORE) --workers 2
	@$(SOBERT) labeling build quality datacards/paper-quality/recipe.toml $(IN_STORE)
	@$(SOBERT) labeling build closed datacards/paper-closed/recipe.toml $(IN_STORE)
	@$(SOBERT) labeling build ner datacards/paper-ner/recipe.toml $(IN_STORE) \
	  $(foreach split,train dev test,--source $(PAPER)/ner/$(split).txt)
	@$(SOBERT) labeling build obsoletion datacards/paper-obsoletion/recipe.toml $(IN_STORE)
	@$(SOBERT) labeling demo-judgements paper-obsoletion --out $(PAPER)/judgements.jsonl $(IN_STORE)
	@$(SOBERT) labeling build obsoletion datacards/paper-obsoletion/recipe.toml $(IN_STORE) \
	  --source $(PAPER)/judgements.jsonl
	@$(SOBERT) pretrain run datacards/paper/pretrain.toml --shards paper $(IN_STORE) --out $(PAPER)/run
	@test -d $(PAPER)/model || \
	  $(SOBERT) pretrain export $(PAPER)/run --shards paper $(IN_STORE) --out $(PAPER)/model
	@for task in $(TASKS); do \
	  $(SOBERT) finetune run datacards/paper-$$task/finetune.toml $(IN_STORE) --out $(PAPER)/$$task \
	    --model ours=$(PAPER)/model --model untrained=$(PAPER)/model || exit; \
	done
	@$(SOBERT) finetune report $(TASKS:%=$(PAPER)/%) --out $(PAPER)/report

test: $(VENV)/.test  ## the tests, under ten minutes on two cores
	@$(ONE_THREAD) $(BIN)/pytest -m 'not slow and not gpu' --numprocesses 2 --dist loadfile

test-slow: $(VENV)/.test  ## the tests that take longer
	@$(ONE_THREAD) $(BIN)/pytest -m 'slow and not gpu' --timeout 1800 --numprocesses 2

check: $(VENV)/.test  ## format, lint, types
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

format: $(VENV)/.test  ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.test  ## speed and memory against named alternatives, into tests/bench/results
	@$(BIN)/python tests/bench/run.py

golden: $(VENV)/.test  ## write the golden files anew; say why in the commit
	@$(BIN)/pytest -m 'not slow and not gpu' --update-golden

clean:  ## remove what make made
	rm -rf $(VENV) demo build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sobert needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) (a minute or two, once)"
	@$(PIP) --editable .
	@touch $@

# torch first: the pinned release is the one with a CPU build.
$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) with test packages (a few minutes, once)"
	@$(PIP) torch
	@$(PIP) --editable '.[train,annotate,cluster,test]'
	@touch $@ $(VENV)/.core
