# The two words to know: `make train` and `make test`. Each works first thing on a fresh machine with Python 3.11 or newer.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup train test test-fast test-cluster test-doors check check-wheel bench clean

setup: $(READY)

# The lock file pins every version; the package itself is installed in place. Compiling all of it would take as long as
# installing it; Python compiles what it imports, unless it is told not to.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up $(VENV): a few minutes, once"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile) \
		-r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

train: $(READY)
	$(BIN)/python train_gimbal_curriculum.py profile=cpu curriculum_preset=quick lr_schedule=gentle_decay

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A file goes to one worker: its tests share trainings and compositions. A worker that a hung test ends is not replaced,
# as the new one would begin with that test.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: check
	$(PYTEST)

# For the daily loop: no whole trainings, no programs of their own, no documentation.
test-fast: $(READY)
	$(PYTEST) -m "not slow" tests/unit tests/rules

# Sweeps and searches on Ray, with a cluster of two nodes, and on submitit, killed and resumed; in an environment of their
# own, as Ray needs other versions. Takes many minutes.
test-cluster: requirements-sweep.lock
	@$(PYTHON) -m venv $(VENV)-sweep
	@$(VENV)-sweep/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-sweep.lock
	@$(VENV)-sweep/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(VENV)-sweep/bin/python -m pytest tests/cluster --timeout 3600

# The examples with the libraries that they are for, and the schedules beside those of timm, transformers and RLlib; in an
# environment of their own, without torchvision: only parts of timm that nobody asks for here need it.
test-doors: requirements-doors.lock
	@$(PYTHON) -m venv $(VENV)-doors
	@$(VENV)-doors/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-doors.lock
	@$(VENV)-doors/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	CONFIGURATIONS=1000 $(VENV)-doors/bin/python -m pytest --noconftest tests/doors -rs

# Installs wheel and sdist elsewhere and uses them there; takes minutes, and needs the package index.
check-wheel: $(READY)
	$(BIN)/python -u tools/check_wheel.py

bench: $(READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) $(VENV)-sweep $(VENV)-doors build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
