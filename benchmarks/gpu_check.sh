#!/bin/sh
# Checks and measures guidance on this machine's GPU in at most 8 minutes: figures in one JSON file (out/gpu.json, or --out).
# Needs the repository, Python and, for packages that are missing, pip. Without a GPU it tries itself on the CPU.
set -eu
cd "$(dirname "$0")/.."
started=$(date +%s)
python=${PYTHON:-python3}
ready='import accelerate, einops, pytest, spacy, torch, diffusers, transformers
major_minor = lambda module: tuple(map(int, module.__version__.split(".")[:2]))
assert major_minor(torch) >= (2, 6) and major_minor(diffusers) >= (0, 42) and major_minor(transformers) >= (5, 0)'
if .venv/bin/python -c "$ready" 2>/dev/null; then
    python=.venv/bin/python
elif ! "$python" -c "$ready" 2>/dev/null; then
    echo "installing what is missing into .venv-gpu" >&2
    "$python" -m venv --system-site-packages .venv-gpu # a torch that is there already fits the machine's driver
    python=.venv-gpu/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check --editable . accelerate "pytest>=8"
fi
PYTHONPATH=src exec "$python" benchmarks/gpu_check.py measure --seconds $((470 - $(date +%s) + started)) "$@"
