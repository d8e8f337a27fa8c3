# `make demo` and `make test` set up everything they need, each in its own environment.
PYTHON ?= python3

.PHONY: demo test check wheel format gallery gpu-check sanitize crashes fuzz fuzz-guided many licences sbom audit clean

demo: .venv-demo/installed
	.venv-demo/bin/shan-engine search "a dog on grass" --top-k 5 --gallery demo
	@echo
	@echo "Open a page to search from:  .venv-demo/bin/shan-engine serve --gallery demo --open"

test: check
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses auto

# Everything that `make test` checks except the tests.
check: .venv/installed
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# An sdist in dist, and of it a wheel for this platform, with the demo, the kernel and the man page.
wheel: .venv-build/installed
	.venv-build/bin/python -m build --outdir dist .

format: .venv/installed
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# The demo as an installed user has it: no PyTorch, and a copy of the code, remade when the code changes.
.venv-demo/installed: pyproject.toml constraints.txt hatch_build.py $(shell find engine web cli artifacts/demo -type f -not -name '*.pyc' -not -name '*.so')
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/pip install --quiet --constraint constraints.txt ".[cpu,serve]"
	touch $@

.venv-build/installed:
	$(PYTHON) -m venv .venv-build
	.venv-build/bin/pip install --quiet build
	touch $@

.venv/installed: pyproject.toml constraints.txt hatch_build.py $(wildcard engine/shan_engine/kernel/*.[ch])
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt --editable \
	  ".[cpu,serve,parquet,places,ocr,ray,train,export,clip,sentence,efficientnet,tensorrt-rtx,dev]"
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

# The score kernel under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer, with random calls.
sanitize: .venv/installed
	.venv/bin/python tests/sanitize/run.py

# Every call that writes, of small runs of 13 commands: killed, failed, or cut short; and losses of power.
crashes: .venv/installed
	.venv/bin/python -m pytest tests/crashes -m "slow or not slow" --numprocesses 0

# Eight readers, two writers, a server and a job over one collection, killed in turn, for SECONDS.
SECONDS ?= 600
many: .venv/installed
	SHAN_MANY_SECONDS=$(SECONDS) .venv/bin/python -m pytest tests/many -m "slow or not slow" --numprocesses 0

# The licence of each package that an installation brings, compared with NOTICE.
licences: .venv/installed
	.venv/bin/python tests/licences.py

# What the demo's environment is made of, in CycloneDX's format.
sbom: .venv-demo/installed .venv-supply/installed
	mkdir -p build
	.venv-supply/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom.json .venv-demo/bin/python
	@echo "written: build/sbom.json"

# Known vulnerabilities of the pinned versions. It asks a service on the network, and fails where that knows no answer.
audit: .venv-supply/installed
	.venv-supply/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

.venv-supply/installed:
	$(PYTHON) -m venv .venv-supply
	.venv-supply/bin/pip install --quiet "cyclonedx-bom>=7" "pip-audit>=2.9"
	touch $@

# Every reader, over files with random changes: `make fuzz SECONDS=600 SEED=1`; failing inputs stay in build/fuzz/faults.
SEED ?= 1
fuzz: .venv/installed
	.venv/bin/python tests/fuzz/run.py --seconds $(SECONDS) --seed $(SEED)

# The same with inputs that reach new branches of the readers: `make fuzz-guided SECONDS=600`.
fuzz-guided: .venv-guided/installed
	.venv-guided/bin/python tests/fuzz/guided.py $(SECONDS)

# Atheris is for Linux on x86-64; beside it, what .venv has.
.venv-guided/installed: .venv/installed
	.venv/bin/python -m venv .venv-guided
	.venv-guided/bin/pip install --quiet "atheris>=3"
	echo "import site; site.addsitedir('$$(echo $(CURDIR)/.venv/lib/python3*/site-packages)')" \
	  > $$(echo .venv-guided/lib/python3*/site-packages)/venv.pth
	touch $@

clean:
	rm -rf .venv .venv-guided .venv-build .venv-demo .venv-supply build dist
