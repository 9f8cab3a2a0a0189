# Every target sets up what it needs in .venv; nothing else must be installed
# than Python 3.11, 3.12 or 3.13 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# What runs on every Keras backend; the rest is TensorFlow's.
NEUTRAL := tests/layers tests/models tests/rows/test_scoring.py tests/embeddings/test_rich_features.py \
  tests/embeddings/test_numbers.py tests/metrics/test_stable_rank.py \
  tests/optimizers/test_table_optimizer.py
# Of these, what `make test` has time for on JAX: Wukong and its layers.
WUKONG := tests/models/test_wukong.py tests/rows/test_scoring.py \
  tests/layers/test_every_layer.py::test_value_and_gradient_are_the_oracles \
  tests/optimizers/test_table_optimizer.py

.PHONY: help quickstart tutorial reproduce-scaling scaling-figures test test-fast test-full test-gpu mutants lint docs clean

help:
	@echo "make quickstart  train on a synthetic log, report, publish a version"
	@echo "make tutorial    run docs/tutorial.md in tutorial/"
	@echo "make reproduce-NAME DATA=DIR  the published figures of configs/NAME.flags"
	@echo "make reproduce-scaling  a scaling law from nothing: many hours on 2 cores"
	@echo "make scaling-figures RESULTS=FILE,...  its tables and plots again"
	@echo "make test        lint, types and tests, with JAX too"
	@echo "make test-fast   the tests of one process"
	@echo "make test-full   all tests, the long ones and PyTorch's too"
	@echo "make test-gpu    runs on two GPUs or more beside one"
	@echo "make mutants     bugs put into modules: the share that tests notice"
	@echo "make lint        ruff and mypy"
	@echo "make docs        the pages of docs/ as a site, site/index.html"
	@echo "make clean       remove $(VENV), $(VENV)-beam and site/, nothing trained"

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	sys.exit(not (3, 11) <= v <= (3, 13) and "error: Python 3.11 to 3.13 \
	is needed; $(PYTHON) is %d.%d. Give another: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python setup.py
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[report,serving]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

$(VENV)/.mutants: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -e '.[mutants]'
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	@touch $@

$(VENV)/.full: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -e '.[torch,notebook,mlflow,wandb]'
	@touch $@

# Apache Beam pins an older pyarrow: an environment of its own.
$(VENV)-beam/.run: $(VENV)/.python setup.py
	$(PYTHON) -m venv $(VENV)-beam
	$(VENV)-beam/bin/python -m pip install --quiet apache-beam absl-py tqdm
	@touch $@

quickstart: $(VENV)/.run
	$(BIN)/python -m trainer.main \
	  --flagfile=configs/quickstart_logistic_regression.flags
	$(BIN)/python -m trainer.main --flagfile=configs/quickstart.flags
	$(BIN)/python -m export.main --run_dir=runs/quickstart \
	  --output=exports/quickstart --format=saved_model,onnx

tutorial: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -e '.[baselines]'
	$(BIN)/python examples/tutorial.py --folder=tutorial

# make reproduce-criteo_x4 DATA=/data/criteo SEEDS="1 2 3" ARGS="--jit_compile"
SEEDS ?= 1 2 3
reproduce-%: $(VENV)/.run
	$(BIN)/python -m trainer.reproduce --experiment=configs/$*.flags \
	  --input="$(DATA)" --seeds="$$(echo $(SEEDS) | tr ' ' ,)" -- $(ARGS)

# make reproduce-scaling LADDER="--rungs=100,300 --seeds=1,2 --plan"
# The rows and rates are the same for all; LADDER replaces rungs, seeds, models.
reproduce-scaling: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -e '.[baselines]'
	$(BIN)/python -m trainer.scaling --output=runs/scaling \
	  --models=wukong,dcn_v2,mlp,rank_mixer --rungs=0.3,1,3,10,30 \
	  --learning_rates=0.000125,0.00025,0.0005,0.001,0.002,0.004 --search_rows=4000000 \
	  --evaluations=16 $(LADDER) -- \
	  --synthetic --synthetic_log=interactions --table_learning_rate=0.3 \
	  --synthetic_train_rows=4000000 --synthetic_valid_rows=50000 \
	  --synthetic_test_rows=1000000 --batch_size=256 \
	  --synthetic_ids=100 --synthetic_decay=1.0

# make scaling-figures RESULTS=runs/scaling/results.json draws those of a run.
RESULTS ?= benchmarks/ladder.json
scaling-figures: $(VENV)/.run
	$(BIN)/python -m trainer.scaling --results="$(RESULTS)" \
	  --output=runs/scaling/figures

# make mutants ARGS="--sample=50 --only=wukong_tf/metrics --seconds=600"
mutants: $(VENV)/.mutants
	$(BIN)/python -m tests.mutants $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy wukong_tf trainer export benchmarks tests

# Warnings are errors: of links, names and what another host would send. The
# variable silences the theme's advertisement of its successor.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

test: lint
	$(PYTEST) -m "not full"
	KERAS_BACKEND=jax $(PYTEST) -m "not full" $(WUKONG)

test-fast: $(VENV)/.dev
	$(PYTEST) -m "not slow and not full"

# NCCL's equality tests; each says why it was skipped below two GPUs.
test-gpu: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -e '.[gpu]'
	$(BIN)/python -m pytest tests/distributed/test_gpu.py

test-full: lint docs $(VENV)/.full $(VENV)-beam/.run
	KERAS_BACKEND=jax $(PYTEST) $(NEUTRAL)
	KERAS_BACKEND=torch $(PYTEST) $(NEUTRAL)
	PROPERTY_EXAMPLES=500 $(PYTEST)

clean:
	rm -rf $(VENV) $(VENV)-beam site
