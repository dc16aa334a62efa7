# Every target sets up `.venv` from nothing if it is missing.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.current
DOCS_STAMP := .venv/.docs

# Named first and by version, so that a machine without a GPU gets the CPU build where one is offered.
TORCH := torch==2.13.0

DEMO := "a red bench and a horse" --seed 1

# Small tensors gain little from threads: one single-threaded process per core is faster.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: setup demo pictures test test-all coverage check docs gpu clean

setup: $(STAMP)

$(STAMP): pyproject.toml Makefile
	@echo "setting up .venv (a few minutes, once)" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" --editable ".[dev]"
	@touch $@

# One prompt, one seed: the unguided and the guided image side by side.
demo: setup
	@$(BIN)/unbleed generate $(DEMO) --compare --out out/demo

# The tests for every change: a few minutes on two cores.
test: setup
	$(PYTEST) -m "not slow"

# All tests: large grids of cases, killed processes, whole runs on the embedded model.
test-all: setup
	$(PYTEST)

coverage: setup
	$(PYTEST) -m "not slow" --cov=unbleed --cov-report=term

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The site, in out/site. A broken link or a public name without documentation is an error.
docs: setup $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(DOCS_STAMP): pyproject.toml $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" --editable ".[docs]"
	@touch $@

# Every image of the documentation, and the pages of the methods.
pictures: setup
	cp "$$($(BIN)/unbleed generate $(DEMO) --compare --out out/pictures)" docs/images/compare.png
	$(BIN)/unbleed attention $(DEMO) --out docs/images/attention.png
	$(BIN)/unbleed emoji sheet --out docs/images/singles.png
	$(BIN)/python tools/region_pictures.py
	$(BIN)/python tools/method_pages.py draw
	$(BIN)/python tools/method_pages.py

# Contract tests in half precision, time and memory on this machine's GPU, at most 8 minutes: out/gpu.json.
gpu:
	@PYTHON="$(PYTHON)" benchmarks/gpu_check.sh

clean:
	rm -rf .venv .venv-gpu out
