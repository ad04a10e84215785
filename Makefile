# crossflare. A machine with Python 3.11 or later and a package index needs nothing else.
#
#   make demo       install what the demonstration needs, and run it (a few minutes on two cores)
#   make test       install the development tools, and run the tests that take seconds
#   make test-times what each test costs, in build/test-times.txt: both lanes, the dearest first
#   make check      format, lint, types, all tests but the next, documentation
#   make paper      every recipe of the paper with tiny models, one language of each task (five minutes)
#   make paper-tiny the same with all languages, by hand: half an hour
#   make locked     the lane of the locked versions: bring .venv to them, then make check
#   make lowest     the lane of the lowest versions that pyproject.toml admits: its main tests
#   make newest     the lane of the newest versions, also past pyproject's bounds: the same tests
#   make versions   the laws of generation with each minor release of transformers that pyproject.toml admits
#   make upgrade    make new locks, and show what changed; make locks: only what pyproject.toml has changed
#   make faults     kills, damaged files and failing disks for BUDGET minutes; writes docs/reliability.md
#   make load       the service under 64 clients for SECONDS=60; writes docs/reliability.md
#   make mutations  take each flush, rename, lock and check out of the reliability code: some test must turn red
#   make architectures
#                   every model type of transformers with a head for text; writes docs/models.md (ten minutes of a core)
#   make bench      measure the cost of a FLARE step; writes bench/results.json
#   make docs       run the examples of the documentation and follow its links
#   make peft-suite PEFT_TESTS=FOLDER
#                   peft's own tests with FLARE in LoRA's place; FOLDER: `tests` of its repository (by hand, an hour)
#   make setup      only make the environment (.venv)
#
# torch is installed first and alone (locks/torch.txt), the rest from a lock with hashes, without dependencies. What is
# installed and how large it is, is said before; sizes are in README.md.
#
# PYTHON=python3.12       the interpreter to make .venv with
# TORCH_INDEX=URL         the package index for torch, such as PyTorch's own for CPUs: on Linux the ordinary one gives the
#                         build with CUDA libraries, gigabytes
# ARGS="-k files"         more arguments for pytest, or for `crossflare demo`
# WORKERS=2               processes that share the tests
# BUDGET=10               minutes of `make faults`
# SECONDS=60              of the mixed load of `make load`

PYTHON ?= python3
TORCH_INDEX ?=
ARGS ?=
WORKERS ?= 2
BUDGET ?= 10
SECONDS ?= 60
export TORCH_INDEX

VENV := .venv
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
SAY = @echo "==>"

.PHONY: setup demo test check format lint types test-all paper paper-tiny test-times bench docs clean locked lowest newest versions upgrade locks peft-suite faults load mutations architectures
.DELETE_ON_ERROR:
.NOTPARALLEL:

setup: $(VENV)/.dev

demo: $(VENV)/.demo
	$(BIN)/crossflare demo $(ARGS)

test: $(VENV)/.dev
	$(PYTEST) -m "not slow and not faults" $(ARGS)

check: lint types test-all docs
	$(SAY) all checks passed

lint: $(VENV)/.dev
	$(SAY) format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(SAY) types
	$(BIN)/pyright

test-all: $(VENV)/.dev
	$(SAY) all tests
	$(PYTEST) --hypothesis-profile=full -m "not paper" --ignore=tests/docs $(ARGS)

paper: $(VENV)/.dev
	$(SAY) the recipes of the paper, tiny, one language of each task
	$(PYTEST) -m paper tests/experiment/test_paper.py $(ARGS)

paper-tiny: $(VENV)/.dev
	$(SAY) the recipes of the paper, tiny, all languages
	for recipe in recipes/paper/*.yaml; do $(BIN)/crossflare run $$recipe --tiny --runs build/paper --workers $(WORKERS) || exit 1; done

test-times: $(VENV)/.dev
	$(PYTEST) --hypothesis-profile=full --ignore=tests/docs --times=build/test-times.txt $(ARGS)
	$(SAY) build/test-times.txt

docs: $(VENV)/.dev
	$(SAY) documentation
	$(BIN)/python -m pytest tests/docs

faults: $(VENV)/.dev
	$(BIN)/python tests/faults/drive.py --minutes $(BUDGET) $(ARGS)

load: $(VENV)/.dev
	$(BIN)/python -W ignore tests/faults/load.py --seconds $(SECONDS) $(ARGS)

mutations: $(VENV)/.dev
	$(BIN)/python -W ignore tests/faults/mutate.py $(ARGS)

architectures: $(VENV)/.dev
	$(BIN)/python tests/families/sweep.py $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m bench

peft-suite: $(VENV)/.dev
	$(BIN)/python tools/peft_suite.py $(PEFT_TESTS) $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

locked:
	rm -f $(VENV)/.dev
	$(MAKE) --no-print-directory check

lowest newest:
	$(PYTHON) -m tools.lane $@

versions:
	$(PYTHON) -m tools.minors

upgrade:
	$(PYTHON) -m tools.upgrade

locks:
	$(PYTHON) -m tools.upgrade --keep

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	@if [ -L $(VENV) ]; then echo "$(VENV) is a link: left as it is"; else rm -rf $(VENV); fi

# A stamp says that an install came to its end.
$(VENV)/.demo: pyproject.toml locks/torch.txt locks/linux-cpu-demo.txt
	@$(PYTHON) -m tools.environment $(VENV) locks/linux-cpu-demo.txt
	@touch $@

$(VENV)/.dev: pyproject.toml $(wildcard locks/*.txt)
	@$(PYTHON) -m tools.environment $(VENV) locks/linux-cpu.txt
	@touch $@ $(VENV)/.demo
