# Every chore of the project; `make help` prints this list. The first use of any target makes .venv.
BACKEND ?= all
SCENARIO ?=
WORKERS ?= 2
PORT ?=
ARGS ?=
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
VENV := .venv
RUN := $(VENV)/bin/python
# `exec $(RUN)`: make signals the process that it started, and a shell between would end without passing that on.
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup doctor bench bench-relay bench-backends stop-path calibrate knee regress prove baseline soak serve report compare test check lock clean

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything in it (the other targets do this by themselves)

$(READY): requirements.lock pyproject.toml
	@for python in $(PYTHON); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	test -n "$$found" || { echo "make: no Python 3.11 or newer among: $(PYTHON); install one, or name it: make PYTHON=/path/to/python3" >&2; exit 4; }; \
	echo "Setting up $(VENV) with $$found (once; about a minute)"; \
	$$found -m venv --clear $(VENV) || { echo "make: $$found cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 4; }
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

bench: $(READY) ## measure: BACKEND=all|memory|postgres|redis SCENARIO=name,... WORKERS=n QUICK=1
	@exec $(RUN) -m bench run --backend "$(BACKEND)" --workers "$(WORKERS)" $(if $(SCENARIO),--scenario "$(SCENARIO)") $(if $(filter-out 0,$(QUICK)),--quick) $(ARGS)

doctor: $(READY) ## is this machine fit to measure on? Says what to change
	@exec $(RUN) -m bench doctor $(ARGS)

calibrate: $(READY) ## floor and calibration alone, ten times: does the instrument find what was injected?
	@exec $(RUN) -m bench calibrate $(ARGS)

bench-relay: $(READY) ## what a relayed chunk costs, beside a bare and a naive relay (writes results/relay.json)
	@exec $(RUN) -m bench relay $(ARGS)

stop-path: $(READY) ## an abort on the other worker, beside a plain hang-up (writes results/stop-path.json): QUICK=1
	@exec $(RUN) -m bench stop-path $(if $(filter-out 0,$(QUICK)),--quick) $(ARGS)

bench-backends: $(READY) ## the abort path itself, beside the bare drivers: BACKEND=all|postgres|redis QUICK=1
	@exec $(RUN) -m bench backends --backend "$(BACKEND)" $(if $(filter-out 0,$(QUICK)),--quick) $(ARGS)

knee: $(READY) ## how many chats and stops per second until stops get slow: BACKEND=all|memory|postgres|redis
	@exec $(RUN) -m bench knee "$(BACKEND)" $(ARGS)

regress: $(READY) ## is HEAD slower to stop than BASE=<git ref>? Both run here, in interleaved blocks
	@exec $(RUN) -m bench regress --base "$(or $(BASE),origin/main)" --workers "$(WORKERS)" $(if $(SCENARIO),--scenario "$(SCENARIO)") $(ARGS)

prove: $(READY) ## does the gate find what it must? Some hours; ARGS="--aa 1 --faults 1" for a first look
	@exec $(RUN) -m bench prove $(ARGS)

baseline: $(READY) ## measure fully, and keep it as results/baseline.json for `python -m bench check`
	@exec $(RUN) -m bench run --backend "$(BACKEND)" --workers "$(WORKERS)" $(if $(SCENARIO),--scenario "$(SCENARIO)") $(ARGS)
	@exec $(RUN) -m bench baseline

soak: $(READY) ## ten minutes of mixed traffic; memory must stay flat and nothing may leak
	@exec $(RUN) -m bench soak $(ARGS)

serve: $(READY) ## store, mock upstream (without OPENAI_API_KEY) and service, to try: BACKEND=memory|postgres|redis PORT=8000
	@exec $(RUN) -m bench serve --backend "$(if $(filter all,$(BACKEND)),memory,$(BACKEND))" $(if $(PORT),--port "$(PORT)") $(ARGS)

report: $(READY) ## draw the report again from a results folder: RUN_DIR=results/latest
	@exec $(RUN) -m bench report $(or $(RUN_DIR),results/latest)

compare: $(READY) ## two runs side by side: A=results/... B=results/...
	@exec $(RUN) -m bench compare "$(A)" "$(B)" $(ARGS)

test: $(READY) ## run the tests: ARGS="tests/backends -k push"
	@exec $(RUN) -m pytest $(ARGS)

check: $(READY) ## lint, formatting, types, import arrows
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet . || { echo "make: run '$(VENV)/bin/ruff format .'" >&2; exit 1; }
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache

lock: ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --generate-hashes --all-extras --python-version 3.11 --no-header --no-emit-index-url pyproject.toml --output-file requirements.lock

clean: ## remove .venv and caches; results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
