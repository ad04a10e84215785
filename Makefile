# crossflare. A machine with Python 3.11 or later and a package index needs nothing else.
#
#   make demo     install what the demonstration needs, and run it (a few minutes on two cores)
#   make test     install the development tools, and run the tests that take seconds
#   make check    everything the continuous integration checks: format, lint, types, all tests, documentation
#   make bench    measure the cost of a FLARE step; writes bench/results.json
#   make docs     run the examples of the documentation and follow its links
#   make peft-suite PEFT_TESTS=FOLDER
#                 peft's own tests with FLARE in LoRA's place; FOLDER: `tests` of its repository (by hand, an hour)
#   make setup    only make the environment (.venv)
#
# PYTHON=python3.12       the interpreter to make .venv with
# CONSTRAINTS=            with a GPU: let pip choose torch (the file pins the build without CUDA libraries)
# ARGS="-k files"         more arguments for pytest, or for `crossflare demo`

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS))
SAY = @echo "==>"

.PHONY: setup demo test check format lint types test-all bench docs peft-suite clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

setup: $(VENV)/.dev

demo: $(VENV)/.demo
	$(BIN)/crossflare demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

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
	$(BIN)/python -m pytest --ignore=tests/docs $(ARGS)

docs: $(VENV)/.dev
	$(SAY) documentation
	$(BIN)/python -m pytest tests/docs

bench: $(VENV)/.dev
	$(BIN)/python -m bench

peft-suite: $(VENV)/.dev
	$(BIN)/python tools/peft_suite.py $(PEFT_TESTS) $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	@if [ -L $(VENV) ]; then echo "$(VENV) is a link: left as it is"; else rm -rf $(VENV); fi

# A stamp says that an install came to its end. One that was cut off leaves .unfinished, and .venv is then made anew:
# pip cannot always tell half a package from a whole one. A .venv that is a link, or works, is kept.
$(VENV)/.made:
	$(SAY) making $(VENV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "crossflare needs Python 3.11 or later, but $(PYTHON) is `$(PYTHON) --version 2>&1`: try make PYTHON=python3.12" >&2; exit 1; }
	@[ -L $(VENV) ] || { [ ! -e $(VENV)/.unfinished ] && $(BIN)/python -m pip --version >/dev/null 2>&1; } || \
	  $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "$(PYTHON) cannot make an environment (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@touch $@

define install
	@if [ -e $(VENV)/.unfinished ]; then rm -f $(VENV)/.made; $(MAKE) --no-print-directory $(VENV)/.made; fi
	$(SAY) "installing crossflare[$(1)] into $(VENV): a minute or two"
	@touch $(VENV)/.unfinished
	$(INSTALL) -e '.[$(1)]'
	@rm -f $(VENV)/.unfinished
	@touch $(2)
endef

$(VENV)/.demo: pyproject.toml $(wildcard $(CONSTRAINTS)) | $(VENV)/.made
	$(call install,demo,$@)

$(VENV)/.dev: pyproject.toml $(wildcard $(CONSTRAINTS)) | $(VENV)/.made
	$(call install,dev,$@ $(VENV)/.demo)
