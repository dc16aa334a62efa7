# Each target works from nothing: `make demo`, `make test`, `make check`, `make pictures`, `make gpu`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.current

# Asked for first and by version, so that a machine without a GPU gets the CPU build where one is offered.
TORCH := torch==2.13.0

DEMO := "a red bench and a horse" --seed 1

.PHONY: setup demo pictures test check gpu clean

setup: $(STAMP)

$(STAMP): pyproject.toml Makefile
	@echo "setting up .venv (a few minutes, once)" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" --editable ".[dev]"
	@touch $@

# The main job: one prompt, the model's own picture and the guided one, side by side.
demo: setup
	@$(BIN)/unbleed generate $(DEMO) --compare --out out/demo

# Every picture of the documentation, drawn anew, and the pages of the methods.
pictures: setup
	cp "$$($(BIN)/unbleed generate $(DEMO) --compare --out out/pictures)" docs/images/compare.png
	$(BIN)/unbleed attention $(DEMO) --out docs/images/attention.png
	$(BIN)/unbleed emoji sheet --out docs/images/singles.png
	$(BIN)/python tools/region_pictures.py
	$(BIN)/python tools/method_pages.py draw
	$(BIN)/python tools/method_pages.py

# Small tensors gain little from threads: a process per core, of one thread each, ends sooner.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Contract tests in half precision, seconds and memory on this machine's GPU, at most 8 minutes: out/gpu.json.
gpu:
	@PYTHON="$(PYTHON)" benchmarks/gpu_check.sh

clean:
	rm -rf .venv .venv-gpu out
