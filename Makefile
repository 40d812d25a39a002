# Everything sets up its own .venv first: nothing has to be installed by hand but Python >= 3.10, make and, for the
# C++ ops, a compiler.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
SOURCES := setup.py pyproject.toml $(wildcard csrc/*.cpp csrc/*/*.cpp csrc/*/*.h)

.PHONY: install pretrain test benchmark info clean

install: $(INSTALLED)

$(PY):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python >= 3.10 is needed; make PYTHON=python3.12 names another')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.requirements: requirements.txt | $(PY)
	$(PY) -m pip install --disable-pip-version-check -r requirements.txt
	touch $@

# Build isolation would hide the torch that the ops are built against.
$(INSTALLED): $(VENV)/.requirements $(SOURCES)
	$(PY) -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
	$(PY) -m bt_kernels.info
	touch $@

# Options go through ARGS: make pretrain ARGS="--epochs 5"
pretrain: $(INSTALLED)
	$(PY) -m bt_kernels.trainer $(ARGS)

test: $(INSTALLED)
	$(PY) -m pytest $(ARGS)

benchmark: $(INSTALLED)
	$(PY) -m benchmarks.loss $(ARGS)

info: $(INSTALLED)
	$(PY) -m bt_kernels.info

clean:
	rm -rf $(VENV) build dist *.egg-info bt_kernels/_build_report.json bt_kernels/*.so
