# Every task of the project; `make help` lists them. The first use of a target makes .venv.
BACKEND ?= all
SCENARIO ?=
LOAD ?=
WORKERS ?= 2
PORT ?=
ARGS ?=
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
VENV := .venv
# `exec $(RUN)`: make signals the process that it started, and a shell in between would not forward the signal.
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
TEST_READY := $(VENV)/.ready-test
SLOW := $(wildcard tests/slow/test_*.py tests/slow/*/test_*.py)
quick = $(if $(filter-out 1 true True TRUE yes Yes YES on On ON 0 false False FALSE no No NO off Off OFF,$(QUICK)),$(error QUICK is '$(QUICK)': choose from 1, true, yes, on, 0, false, no, off),$(if $(filter 1 true True TRUE yes Yes YES on On ON,$(QUICK)),--quick))

START := doctor serve bench report compare site
MEASURE := locust products target knee plan stop-path bench-relay bench-storm bench-backends soak calibrate
GATE := regress baseline prove

.DEFAULT_GOAL := help
.PHONY: help setup doctor bench bench-relay bench-storm bench-backends stop-path calibrate knee plan locust products regress prove baseline soak serve report compare site test test-slow clients target check lock clean

help: ## print this list
	@awk -F':.*## ' -v groups="Start here:$(START)|Measure:$(MEASURE)|Gate:$(GATE)" ' \
	    /^[a-z-]+:.*## / { text[$$1] = $$2; targets[++count] = $$1 } \
	    function show(target) { if (target in text) printf "  make %-15s %s\n", target, text[target]; delete text[target] } \
	    END { \
	        for (g = 1; g <= split(groups, group, "|"); g++) { \
	            split(group[g], head, ":"); print head[1]; \
	            for (n = 1; n <= split(head[2], names, " "); n++) show(names[n]) \
	        } \
	        print "Develop"; for (n = 1; n <= count; n++) show(targets[n]) \
	    }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with what the project runs on (1 min; the other targets do this too)

# All locks pin the same versions: adding the test set reinstalls nothing of the run set.
# Python compiles a module when it first imports it; compiling all of them here would take 170 MB and half of the time.
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile

$(READY): requirements.lock pyproject.toml
	@$(if $(filter requirements.lock,$?),$(new_venv))
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

define new_venv
for python in $(PYTHON); do \
    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
done; \
test -n "$$found" || { echo "make: no Python 3.11 or newer among: $(PYTHON); install one, or name it: make PYTHON=/path/to/python3" >&2; exit 4; }; \
echo "Setting up $(VENV) with $$found (once; about a minute)"; \
$$found -m venv --clear $(VENV) || { echo "make: $$found cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 4; }; \
$(INSTALL) --require-hashes -r requirements.lock
endef

$(TEST_READY): requirements-test.lock requirements.lock | $(READY)
	@echo "Adding the test packages to $(VENV) (once; about half a minute)"
	@$(INSTALL) --require-hashes -r $<
	@touch $@

bench: $(READY) ## measure and report (5 to 12 min; QUICK=1: 2): BACKEND=all|memory|postgres|nats|redis-push|... SCENARIO=name,... WORKERS=n LOAD="--processes 4"
	@exec $(RUN) -m bench run --backend "$(BACKEND)" --workers "$(WORKERS)" $(if $(SCENARIO),--scenario "$(SCENARIO)") $(if $(LOAD),--load "$(LOAD)") $(quick) $(ARGS)

doctor: $(READY) ## check whether this machine is fit to measure on (seconds)
	@exec $(RUN) -m bench doctor $(ARGS)

locust: $(READY) ## drive the chats by hand in Locust's web UI, with a report at the end: BACKEND=redis SCENARIO=name,...
	@exec $(RUN) -m bench locust --backend "$(BACKEND)" --workers "$(WORKERS)" $(if $(SCENARIO),--scenario "$(SCENARIO)") $(ARGS)

calibrate: $(READY) ## measure known delays and losses ten times, and report the measurement error (2 min)
	@exec $(RUN) -m bench calibrate $(ARGS)

bench-relay: $(READY) ## CPU time per relayed chunk, compared with a bare and a naive relay (5 min)
	@exec $(RUN) -m bench relay $(ARGS)

bench-storm: $(READY) ## mass stops, a retry storm and two abuses: what other owners notice of them (6 min)
	@exec $(RUN) -m bench storm $(ARGS)

stop-path: $(READY) ## latency of an abort on the other worker, compared with a client that hangs up (6 min; QUICK=1: 2)
	@exec $(RUN) -m bench stop-path $(quick) $(ARGS)

bench-backends: $(READY) ## latency and cost of the abort path alone, compared with the bare drivers: BACKEND=all|postgres|redis QUICK=1
	@exec $(RUN) -m bench backends --backend "$(BACKEND)" $(quick) $(ARGS)

knee: $(READY) ## find the rate at which stops get slow or lost (3 min a strategy): BACKEND=all|memory|postgres|nats|redis-push|...
	@exec $(RUN) -m bench knee "$(BACKEND)" $(ARGS)

plan: $(READY) ## predict what many streams need: ARGS="--streams 1e6 --tokens-per-s 40"; ARGS=--measure measures this machine (15 min)
	@exec $(RUN) -m bench plan $(ARGS)

products: $(READY) ## measure all installed products beside our service, and write docs/products.md (an hour with all)
	@exec $(RUN) -m bench products $(ARGS)

regress: $(READY) ## compare HEAD with BASE=<git ref>, both measured here (up to 15 min)
	@exec $(RUN) -m bench regress --base "$(or $(BASE),origin/main)" --workers "$(WORKERS)" $(if $(SCENARIO),--scenario "$(SCENARIO)") $(ARGS)

prove: $(READY) ## measure the gate's false-positive and false-negative rates (3 hours; ARGS="--aa 1 --faults 1" for a trial)
	@exec $(RUN) -m bench prove $(ARGS)

baseline: $(READY) ## measure, and keep it as results/baseline.json for `.venv/bin/python -m bench check` (5 to 12 min)
	@exec $(RUN) -m bench run --backend "$(BACKEND)" --workers "$(WORKERS)" $(if $(SCENARIO),--scenario "$(SCENARIO)") $(ARGS)
	@exec $(RUN) -m bench baseline

soak: $(READY) ## mixed traffic, then look for leaks (10 min): BACKEND=redis|postgres-poll|...
	@exec $(RUN) -m bench soak --backend "$(BACKEND)" $(ARGS)

serve: $(READY) ## start store, mock upstream (unless OPENAI_API_KEY is set) and service: BACKEND=redis|postgres|nats|memory PORT=8000
	@exec $(RUN) -m bench serve --backend "$(BACKEND)" $(if $(PORT),--port "$(PORT)") $(ARGS)

report: $(READY) ## draw the report of a run again: RUN_DIR=results/latest
	@exec $(RUN) -m bench report $(or $(RUN_DIR),results/latest)

compare: $(READY) ## two runs in one page: A=results/... B=results/...
	@exec $(RUN) -m bench compare "$(A)" "$(B)" $(ARGS)

site: $(READY) ## all runs of results/ as a static site, with filters and badges: site/index.html
	@exec $(RUN) -m bench site $(ARGS)

test: $(TEST_READY) ## run the tests: ARGS="tests/backends -k push"
	@exec $(RUN) -m tests $(ARGS)

test-slow: $(if $(SLOW),$(TEST_READY)) ## run the tests in tests/slow, each of which takes minutes (CI runs them every night)
	@$(if $(SLOW),exec $(RUN) -m pytest tests/slow $(ARGS),echo "make: tests/slow has no tests")

clients: export CLIENTS_KEEP = 1
clients: $(TEST_READY) ## real OpenAI clients, each stopped from both sides (LOAD_TOOLS=1: guidellm and aiperf too, 7 GB more)
	@exec $(RUN) -m tests.clients.environments $(if $(filter-out 0,$(LOAD_TOOLS)),--load-tools)
	@exec $(RUN) -m pytest tests/clients $(ARGS)

check: $(TEST_READY) ## lint, formatting, types, import contracts (1 min)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet . || { echo "make: run '$(VENV)/bin/ruff format .'" >&2; exit 1; }
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache

lock: COMPILE := uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url pyproject.toml
lock: ## renew all locks from pyproject.toml (needs uv; ARGS=--upgrade for newer versions)
	@command -v uv >/dev/null || { echo "make: uv is not installed: pip install uv, then make lock again" >&2; exit 4; }
	$(COMPILE) --extra redis --extra postgres --extra nats --extra bench --extra setup $(ARGS) --output-file requirements.lock
	$(COMPILE) --extra redis --extra postgres --extra nats --constraints requirements.lock $(ARGS) --output-file requirements-service.lock
	$(COMPILE) --all-extras --constraints requirements.lock $(ARGS) --output-file requirements-test.lock

clean: ## remove .venv, .clients, .targets and caches, but no results
	rm -rf $(VENV) .clients .targets .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
