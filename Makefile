# Two commands do everything on a machine with Python >= 3.11, git and make:
#   make demo   digital participants, everything run on them, prints where the report is
#   make test   the test suite; make test-slow what takes minutes by itself
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: demo test test-slow check lock clean

demo: $(VENV)/run.done
	rm -rf $(DEMO)/bids $(DEMO)/derivatives
	$(BIN)/cospine demo $(DEMO)

test: $(VENV)/dev.done
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/dev.done
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

check: $(VENV)/dev.done
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/pyright
	$(BIN)/lint-imports

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later was not found; name it: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.done: lock/run.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r lock/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.done: lock/dev.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r lock/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/run.done

# needs uv; the files hold hashes and no word of where packages came from
LOCK = uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -q
lock:
	$(LOCK) pyproject.toml lock/build.in -o lock/run.txt
	$(LOCK) pyproject.toml lock/build.in --extra test --extra check -o lock/dev.txt
	$(LOCK) pyproject.toml lock/build.in --extra benchmarks -o lock/benchmarks.txt
	$(LOCK) pyproject.toml lock/build.in --extra training -o lock/training.txt

clean:
	rm -rf $(VENV) $(DEMO)/bids $(DEMO)/derivatives
