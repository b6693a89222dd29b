# Set-up, checks and a demonstration; `make` lists the targets. PYTHON= chooses the Python, VENV= the environment.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
OUT    ?= build/resnet_50
SHELL  := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help demo test lint format caffe torch spark chromium cluster configs-draw configs-fold configs-torch configs-onnx published solvers-torch fuzz fuzz-consumers fuzz-inputs kills fuzz-torch clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'with PYTHON=python3.12 another Python, with VENV=DIR another environment'

demo: $(VENV)/.installed ## build ResNet-50 from nothing but a Python (OUT=DIR: where)
	@mkdir -p $(OUT)
	$(PY) app/imagenet/build_resnet.py -m bottleneck -b 3 4 6 3 -n 256 --no-fc_layers -o $(OUT)
	@echo && echo 'The files are in $(OUT):' && ls -l $(OUT)

# The tests run in as many processes as there are cores, at most 8; JOBS=0 runs them in one.
JOBS ?= auto

# Hundreds of tests start a Python, and without bytecode each start would compile netbuilder again.
unexport PYTHONDONTWRITEBYTECODE

test: $(VENV)/.installed-test ## ruff, mypy and every test, with real Caffe where it can be had (TORCH=no: without PyTorch; JOBS=N)
	@$(MAKE) --no-print-directory --jobs=2 BESIDE=1 torch lint caffe spark chromium
	$(PY) -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist worksteal

# For `test`: what apt-get installs, one after another because of its locks, comes beside pip and the linters,
# which need the types of PyTorch.
ifdef BESIDE
lint: torch
spark: caffe
chromium: spark
endif

# Without PyTorch its types are unknown.
ifeq ($(TORCH),no)
MYPY := --follow-imports=silent --exclude '(netbuilder|tests)/engines/torch/'
endif

lint: $(VENV)/.installed-test ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --num-workers auto $(MYPY)

format: $(VENV)/.installed-test ## fix what ruff can fix
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# The module exits with 0 if there is a Caffe, 1 if there is none, 2 if NETBUILDER_CAFFE names something unusable.
caffe: $(VENV)/.installed-test ## install real Caffe, if it is missing and the machine allows it
	@$(PY) -m netbuilder.engines.caffe; status=$$?; \
	if [ $$status = 1 ]; then tools/install_caffe.sh; status=$$?; fi; \
	if [ $$status = 3 ] && [ "$$NETBUILDER_REQUIRE_CAFFE" != 1 ]; then \
	    echo 'Tests that need real Caffe will be skipped (docs/real-caffe.md).'; status=0; fi; \
	exit $$status

# The tested version. TORCH=no leaves out the tests that need it, with the reason; other tests do not need it.
TORCH_VERSION := 2.13.0

torch: $(VENV)/.installed-test ## install PyTorch for the tests, if it is missing (a download of 200 MB, or of GBs with CUDA)
ifneq ($(TORCH),no)
	@$(PY) -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' || { \
	    echo 'Downloading PyTorch $(TORCH_VERSION) for the tests: 200 MB, or several GB where pip chooses the build'; \
	    echo 'with CUDA. `TORCH=no make test` leaves out the tests that need it.'; \
	    $(PY) -m pip install --quiet --disable-pip-version-check --retries 10 'torch==$(TORCH_VERSION)' || { \
	        echo 'PyTorch $(TORCH_VERSION) cannot be installed; the tests that need it will be skipped.' >&2; \
	        [ "$$NETBUILDER_REQUIRE_TORCH" != 1 ]; }; }
else
	@echo 'TORCH=no: the tests that need PyTorch are left out.'
endif

export TORCH

# pyspark comes with the test extra. The script exits with 3 where it cannot install Java.
spark: $(VENV)/.installed-test ## install Java for Spark, if it is missing and the machine allows it
	@tools/install_java.sh; status=$$?; \
	if [ $$status = 3 ] && [ "$$NETBUILDER_REQUIRE_SPARK" != 1 ]; then \
	    echo 'Tests that start Spark will be skipped (docs/spark.md).'; status=0; fi; \
	exit $$status

# Graphviz comes with the test extra. The script exits with 3 where it cannot install Chromium.
chromium: $(VENV)/.installed-test ## install Chromium for the pages of `draw`, if it is missing and the machine allows it
	@tools/install_chromium.sh; status=$$?; \
	if [ $$status = 3 ] && [ "$$NETBUILDER_REQUIRE_DRAW" != 1 ]; then \
	    echo 'Tests that open a page will be skipped (docs/draw.md).'; status=0; fi; \
	exit $$status

cluster: torch spark ## train on a cluster of Spark and on two network namespaces, with failures (minutes, root)
	NETBUILDER_CLUSTER=1 NETBUILDER_REQUIRE_SPARK=1 NETBUILDER_REQUIRE_TORCH=1 $(PY) -m pytest -q tests/spark \
	    tests/engines/torch/test_machines.py

configs-torch: torch caffe ## compare all shipped configs in PyTorch with real Caffe
	NETBUILDER_ALL=1 NETBUILDER_REQUIRE_TORCH=1 $(PY) -m pytest -q tests/engines/torch/test_configs.py

configs-draw: chromium ## draw all shipped configs and open their pages
	NETBUILDER_ALL=1 NETBUILDER_REQUIRE_DRAW=1 $(PY) -m pytest -q tests/draw/test_configs.py

configs-fold: caffe ## compare all shipped configs, folded, with the originals in real Caffe, OpenCV and MNN
	NETBUILDER_ALL=1 NETBUILDER_REQUIRE_CAFFE=1 $(PY) -m pytest -q -s tests/transforms/test_fold_configs.py

configs-onnx: caffe ## compare all shipped configs as ONNX files with real Caffe
	NETBUILDER_ALL=1 NETBUILDER_REQUIRE_ONNX=1 $(PY) -m pytest -q tests/export/onnx/test_configs.py

published: torch caffe ## compare torchvision's and timm's ResNets at full size in PyTorch with real Caffe
	NETBUILDER_ALL=1 NETBUILDER_REQUIRE_TORCH=1 $(PY) -m pytest -q tests/engines/torch/test_published.py

solvers-torch: torch caffe ## compare 300 combinations of solver fields in PyTorch with real Caffe
	NETBUILDER_SOLVERS=300 NETBUILDER_REQUIRE_TORCH=1 $(PY) -m pytest -q tests/engines/torch/test_solver.py

NETS ?= 5000
SEED ?= 1

fuzz: caffe ## compare our rules with real Caffe on random nets (NETS=5000 SEED=1)
	$(PY) tools/fuzz.py --nets $(NETS) --seed $(SEED)

fuzz-consumers: NETS = 2000
fuzz-consumers: caffe ## compare what we report of OpenCV and MNN with what they compute (NETS=2000 SEED=1)
	$(PY) tools/fuzz_consumers.py --nets $(NETS) --seed $(SEED)

fuzz-inputs: MINUTES = 5
fuzz-inputs: torch ## feed damaged files of each kind to the readers (MINUTES=5 of each, or TOTAL=1, SEED=1)
	$(PY) tools/fuzz_inputs.py --minutes $(MINUTES) $(if $(TOTAL),--total $(TOTAL)) --seed $(SEED)

KILLS ?= 100

kills: torch caffe ## kill commands at random moments and run them again (KILLS=100 SEED=1)
	$(PY) tools/kill_check.py --kills $(KILLS) --seed $(SEED)

fuzz-torch: NETS = 3000
fuzz-torch: torch caffe ## compare numbers of random nets in PyTorch with real Caffe (NETS=3000 SEED=1)
	OMP_NUM_THREADS=1 $(PY) tools/fuzz_torch.py --nets $(NETS) --seed $(SEED)

clean: ## remove what make made, but not real Caffe
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An editable install (-e) sees every edit at once; pip runs again only when the metadata changed.
METADATA := setup.py pyproject.toml netbuilder/_version.py

# An interrupted set-up leaves an environment without pip.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "netbuilder needs Python 3.10 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { echo "$(PYTHON) cannot make an environment; on Debian and Ubuntu install python3-venv" >&2; exit 1; }

$(VENV)/.installed: $(METADATA) | $(VENV)/bin/pip
	$(PY) -m pip install --quiet --disable-pip-version-check --retries 10 -e .
	@touch $@

$(VENV)/.installed-test: $(METADATA) | $(VENV)/bin/pip
	$(PY) -m pip install --quiet --disable-pip-version-check --retries 10 -e '.[test]'
	@touch $@ $(VENV)/.installed
