# Everything sets up its own .venv first: nothing has to be installed by hand but Python >= 3.10, make and, for the
# C++ ops, a compiler, for the CUDA kernels the CUDA toolkit.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
SOURCES := setup.py build_cuda.py pyproject.toml $(shell find csrc -name "*.*" -type f)

.PHONY: install pretrain lint docs test test-all test-cpu test-cpu-long test-kernels test-kernels-long test-peers test-matrix benchmark gpu-build gpu-test gpu-bench info clean

install: $(INSTALLED)

$(PY):
	@$(PYTHON) -c "import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15) and 'Python 3.10 to 3.14 is needed; make PYTHON=python3.12 names another')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.requirements: requirements.txt | $(PY)
	$(PY) -m pip install --disable-pip-version-check -r requirements.txt
	touch $@

# The CUDA kernels take minutes: they are built for the GPU at hand alone, without one not at all, unless the caller's
# variables say otherwise (make BT_KERNELS_CUDA=1). The tests that compile them do so themselves.
CUDA_HERE := import os, torch; gpu = torch.cuda.is_available(); \
             asked = os.environ.keys() & {"BT_KERNELS_CUDA", "TORCH_CUDA_ARCH_LIST"}; \
             here = "TORCH_CUDA_ARCH_LIST={}.{}".format(*torch.cuda.get_device_capability()) if gpu else "BT_KERNELS_CUDA=0"; \
             print("" if asked else here)

# Build isolation would hide the torch that the ops are built against. compat: a path in site-packages instead of a
# finder, before which Python would take this folder, seen from the one above it, for the package.
$(INSTALLED): $(VENV)/.requirements $(SOURCES)
	env $$($(PY) -c '$(CUDA_HERE)') \
	$(PY) -m pip install --disable-pip-version-check --no-build-isolation --no-deps --config-settings editable_mode=compat -e .
	$(PY) -m bt_kernels.info
	touch $@

# Options go through ARGS: make pretrain ARGS="--epochs 5"
pretrain: $(INSTALLED)
	$(PY) -m bt_kernels.trainer $(ARGS)

CXX_SOURCES := $(shell find csrc tests -name "*.cpp" -o -name "*.h" -o -name "*.cu" -o -name "*.cuh")

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/clang-format --dry-run -Werror $(CXX_SOURCES)
	$(VENV)/bin/mypy
	@$(PY) tests/support/file_names.py

# The public names' docstrings as pages. A name that pdoc cannot read is an error.
docs: $(INSTALLED)
	$(PY) -W error -m pdoc --output-directory build/docs bt_kernels

# What a change is tried by, two runs at a time: the package as it is used, and beside it the GPUs' kernels on the CPU.
# -O: the two reports come one after the other.
test: $(INSTALLED)
	$(MAKE) --no-print-directory -O -j2 test-cpu test-kernels

# Everything that needs no GPU: make test, then the tests that it leaves out, which have the mark "long".
test-all: test
	$(MAKE) --no-print-directory -O -j2 test-cpu-long test-kernels-long

COMPILED := tests/cuda_compiled tests/triton_compiled
EMULATOR := tests/cuda_emulated
SHORT := -q -m "not long" $(ARGS)
LONG := -q -m long $(ARGS)

test-cpu: lint
	$(PY) -m pytest $(addprefix --ignore=,$(COMPILED)) $(SHORT)

test-cpu-long: $(INSTALLED)
	$(PY) -m pytest $(addprefix --ignore=,$(COMPILED)) $(LONG)

# The CUDA kernels compiled for the CPU; then the Triton kernels in Triton's interpreter, which has to be asked for before
# Triton is imported; then what the compilers for GPUs make of both.
test-kernels: $(INSTALLED)
	$(PY) -m pytest --device emulated $(SHORT)
	TRITON_INTERPRET=1 $(PY) -m pytest --device interpreter $(SHORT)
	$(PY) -m pytest $(COMPILED) $(SHORT)

test-kernels-long: $(INSTALLED)
	$(PY) -m pytest --device emulated $(LONG)
	TRITON_INTERPRET=1 $(PY) -m pytest --device interpreter $(LONG)
	$(PY) -m pytest $(COMPILED) $(LONG)

# The presets beside the projects' own packages, in an environment of their own: some hundred packages.
PEERS := .venv-peers

$(PEERS)/.requirements: requirements.txt requirements-peers.txt | $(PY)
	$(PY) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --disable-pip-version-check -r requirements.txt -r requirements-peers.txt
	touch $@

test-peers: $(INSTALLED) $(PEERS)/.requirements
	$(PEERS)/bin/python -m pytest tests/presets tests/package/test_examples.py $(ARGS)

# A part of the tests beside the oldest to the newest torch, each with another Python, python3.10 to python3.13 on PATH.
# make test-matrix ARGS="--torch 2.11.0"
test-matrix:
	$(PYTHON) tests/versions/matrix.py $(ARGS)

benchmark: $(INSTALLED)
	$(PY) -m benchmarks.loss $(ARGS)

# On a machine with a GPU, in the environment at hand (PYTHON), which has torch and Triton: nothing is installed. The C++ and
# CUDA libraries are built in place, for the GPU at hand alone.
GPU := import torch; print("{}.{}".format(*torch.cuda.get_device_capability()))
HAS_GPU := import importlib.util as i, sys; i.find_spec("torch") or sys.exit("$(PYTHON) has no torch; PYTHON=... names another"); \
           import torch; torch.cuda.is_available() or sys.exit("a GPU is needed, and torch sees none")

gpu-build:
	@$(PYTHON) -c '$(HAS_GPU)'
	TORCH_CUDA_ARCH_LIST=$$($(PYTHON) -c '$(GPU)') $(PYTHON) setup.py -q build_ext --inplace

gpu-test: gpu-build
	$(PYTHON) -m pytest --device cuda $(ARGS)

gpu-bench: gpu-build
	$(PYTHON) -m benchmarks.gpu $(ARGS)

info: $(INSTALLED)
	$(PY) -m bt_kernels.info

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info bt_kernels/_build_report.json bt_kernels/*.so
