# Commands of a developer; `make` alone lists them. Everything runs in an environment of its own in $(VENV).

VENV ?= .venv
DEMO_DIR ?= demo_out
PYTEST_ARGS ?= -n 2
# The first of these that starts, can make environments and is new enough.
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13 python3.10,\
  $(shell $(name) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $(name))))

.DEFAULT_GOAL := help
.PHONY: help env test demo clean
.NOTPARALLEL:

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

env: ## create $(VENV): torch, toolkits, this package (about 2 minutes; skipped when complete)
	@test -n '$(PYTHON)' || { echo 'Python 3.10 or newer with venv is needed'; exit 1; }
	@$(PYTHON) tools/env/setup_env.py '$(VENV)'

test: env ## run all tests
	@OMP_NUM_THREADS=1 '$(VENV)/bin/python' -m pytest $(PYTEST_ARGS)

demo: env ## train and evaluate a small dHT-ViT and a plain ViT; pictures in $(DEMO_DIR) (10 minutes with env)
	@'$(VENV)/bin/python' tools/demo/run_demo.py --out-dir '$(DEMO_DIR)'

clean: ## remove what the commands above made
	rm -rf '$(VENV)' '$(DEMO_DIR)' build .pytest_cache .ruff_cache .hypothesis
