# The two commands: `make reproduce` and `make test`. Both set up .venv first when it is missing or outdated.
PYTHON  ?= python3
PROFILE ?=
JOBS    ?= 2
SET     ?=
DATA    ?=
DRY     ?=
FORCE   ?=
# Index of the torch build, for instance the CPU or CUDA one of the PyTorch project; empty: pip's own settings.
TORCH_INDEX ?=

VENV  := .venv
PY    := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PIP   := $(PY) -m pip install -q --progress-bar off

# A folder with copies of the open data, beside the checkout, saves the downloads.
ifneq ($(wildcard ../shared/data),)
export MICRO_PAPER_DATA ?= $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
.PHONY: help setup reproduce mine test test-all notebooks readme format lint lab bench doctor verify course lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | \
	    while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done
	@echo '  variables: PROFILE=smoke|bundled|open|paper JOBS=2 SET="name=value ..." DATA= DRY=1 FORCE=1 PYTHON= TORCH_INDEX='

setup: $(STAMP) ## the environment in .venv, from the lock

$(STAMP): requirements.lock requirements-torch.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON): name a Python 3.11, 3.12 or 3.13 with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	    { echo "$$($(PYTHON) --version) will not do: name a Python 3.11, 3.12 or 3.13 with PYTHON=..."; exit 1; }
	@echo "Setting up $(VENV): a few minutes."
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -r requirements-torch.txt
	@$(PIP) --require-hashes --no-deps -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@
	@echo "$(VENV) is ready; make doctor says what can run."

reproduce: export MICRO_PAPER_SET = $(value SET) # as typed: no shell reads it, the command splits it as one would
reproduce: $(STAMP) ## every table and figure of PROFILE (default: bundled; smoke and open until it is published)
	@$(PY) -m micro_paper reproduce $(if $(PROFILE),--profile $(PROFILE)) --jobs $(JOBS) $(if $(value SET),--settings "$$MICRO_PAPER_SET")

mine: export MICRO_PAPER_SET = $(value SET)
mine: export MICRO_PAPER_OWN = $(value DATA)
mine: $(STAMP) ## tables, figures and a model of your own data: make mine DATA=pairs.jsonl; DRY=1 says what would be run
	@$(PY) -m micro_paper mine $(if $(DRY),--dry-run) --jobs $(JOBS) --settings "$$MICRO_PAPER_SET" -- "$$MICRO_PAPER_OWN"

test: $(STAMP) ## ruff and the quick tests; FORCE=1 even if nothing changed
	@$(PY) tests/suite.py $(if $(FORCE),--force) --jobs $(JOBS)

test-all: $(STAMP) ## every test: also the long ones, the course and the committed notebooks
	@$(PY) tests/suite.py --all $(if $(FORCE),--force) --jobs $(JOBS)

notebooks: $(STAMP) ## execute the committed notebooks in place, at their defaults
	@$(PY) -m micro_paper refresh

readme: $(STAMP) ## write the published results into README.md and docs/
	@$(PY) -m micro_paper readme

format: $(STAMP) ## ruff format, in place
	@$(PY) -m ruff format -q .

lint: $(STAMP) ## ruff over modules, tests and notebooks
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

lab: $(STAMP) ## JupyterLab
	@$(VENV)/bin/jupyter lab notebooks

bench: $(STAMP) ## speed against plain ways of doing the same, side by side, into results/benchmarks
	@$(PY) benchmarks/speed.py

doctor: $(STAMP) ## what is installed and what each profile would need
	@$(PY) -m micro_paper doctor

verify: $(STAMP) ## the committed results against their manifests
	@$(PY) -m micro_paper verify

course: $(STAMP) ## the assignments: the students' versions in build/course/release, and every solution in mutants/ graded
	@$(PY) assignments/course.py release
	@$(PY) assignments/course.py check

lock: ## renew requirements.lock (for maintainers; needs uv on the PATH)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-package torch --no-annotate \
	    --custom-compile-command 'make lock' requirements.in requirements-torch.txt -o requirements.lock

clean: ## remove build/ (extracted features too; not a folder that MICRO_PAPER_BUILD names), not .venv or results
	rm -rf build .snakemake
