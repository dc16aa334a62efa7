# Each target works from nothing: `make demo`, `make test`, `make check`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.current

# Asked for first and by version, so that a machine without a GPU gets the CPU build where one is offered.
TORCH := torch==2.13.0

.PHONY: setup demo test check clean

setup: $(STAMP)

$(STAMP): pyproject.toml Makefile
	@echo "setting up .venv (a few minutes, once)" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" --editable ".[dev]"
	@touch $@

# The main job: one prompt, the model's own picture and the guided one, side by side.
demo: setup
	@$(BIN)/unbleed generate "a red bench and a horse" --method syngen --seed 1 --compare --out out/demo

# Small tensors gain little from threads: a process per core, of one thread each, ends sooner.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf .venv out
