# Two commands matter: `make rehearse` and `make test`. Each sets up what it needs, from a clean clone.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
ENV ?= production
PACKAGES := playbook blocks tasks flows worker rehearsal bench
LOCK := --universal --no-strip-extras --generate-hashes --python-version 3.11
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_CLI_PROMPT := false
# A proxy that this shell names is for the world outside: what runs here is reached directly.
comma := ,
LOOPBACK := $(if $(NO_PROXY)$(no_proxy),$(or $(NO_PROXY),$(no_proxy))$(comma))127.0.0.1$(comma)localhost
export NO_PROXY := $(LOOPBACK)
export no_proxy := $(LOOPBACK)

.PHONY: help setup lock system venv-package rehearse drill scenarios check lint test test-units test-rehearsals pictures fmt chaos chaos-real bench-judge deploy drain production-check
help:  ## say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# $(call install,PACKAGES): these packages are installed with apt-get, or one sentence says what to install.
define install
	if ! command -v apt-get >/dev/null; then echo "Please install $(1) with this machine's package manager, then run this again."; exit 1; fi; \
	sudo=""; if [ "$$(id -u)" != 0 ]; then command -v sudo >/dev/null || { echo "Please run as root: apt-get install $(1)"; exit 1; }; sudo=sudo; fi; \
	echo installing $(1); \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null
endef

setup: system .venv/.done  ## install the locked dependencies into .venv (production and development), and prometheus and haproxy where missing

# Production installs requirements.lock alone; tests and rehearsals run the same versions, and what they need beyond them.
# A .venv that Debian's python made without its venv package has no pip: it is made anew. Everything is compiled here,
# once: a rehearsal starts dozens of processes at the same time, and where Python keeps no bytecode each spends seconds on it.
.venv/.done: requirements-dev.lock pyproject.toml | venv-package
	@test -x $(BIN)/pip || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements-dev.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 .venv/lib $(PACKAGES) >/dev/null || true  # a package may hold templates that are no Python
	@touch $@

lock: .venv/.done  ## resolve pyproject.toml into the two locks: production, and production with development
	VIRTUAL_ENV=.venv $(BIN)/uv pip compile --quiet $(LOCK) pyproject.toml -o requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip compile --quiet $(LOCK) pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock

venv-package:
	@test -x $(BIN)/pip && exit 0; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older or missing. Say which one: make setup PYTHON=python3.12"; exit 1; }; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null && exit 0; \
	package="python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"; \
	$(call install,$$package)

system: venv-package
	@missing=""; for p in prometheus haproxy; do PATH="$$PATH:/usr/sbin:/sbin" command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	test -z "$$missing" && exit 0; \
	$(call install,$${missing:1})

# A file's tests stay in one process, so what a file needs (a Prefect server, say) is started once.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder
check: lint  ## the fast part: lint, types, layers, the playbook's own tests
	$(BIN)/pytest -q $(SPREAD) tests/playbook tests/test_house.py

lint: .venv/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

rehearse: setup  ## run the scenario healthy: a release, end to end, on this machine
	$(BIN)/python -m rehearsal run healthy

# Whole rehearsals measure real time and mostly wait: the other tests run beside them, and leave them the processor.
REAL := tests/rehearsal tests/browser
test: setup lint  ## everything: lint, all tests, three whole scenarios; with Chromium, a release day
	@$(MAKE) --no-print-directory -j2 test-units test-rehearsals

# These fork for every case. A process that has collected them alone is a third as large, and so is the cost of its forks. None
# needs a server, so each goes to the process that is free.
FORKS := tests/chaos tests/hostile/test_hostile_flows.py
test-units:
	@set -o pipefail; nice -n 5 $(BIN)/pytest -q -n auto --dist worksteal $(FORKS) | sed -u 's/^/forks      | /'
	@set -o pipefail; nice -n 5 $(BIN)/pytest -q $(SPREAD) $(patsubst %,--ignore=%,$(REAL) $(FORKS)) | sed -u 's/^/tests      | /'

test-rehearsals:
	@set -o pipefail; $(BIN)/pytest -q $(REAL) | sed -u 's/^/rehearsals | /'

pictures: setup  ## take the README's pictures with a whole release day in Chromium
	RELEASE_DAY=1 PICTURES=docs/images $(BIN)/pytest -q tests/browser

scenarios: setup  ## run every scenario, one after another: more than an hour
	$(BIN)/python -m rehearsal run all

drill: setup  ## what years bring: several machines, a restored database, an upgrade, 200 runs
	@PATH="$$PATH:/usr/sbin:/sbin" command -v redis-server >/dev/null && exit 0; $(call install,redis-server)
	$(BIN)/python -m rehearsal run scaled restored emergency_lane
	$(BIN)/pytest -q tests/flows/test_upgrade.py
	$(BIN)/python -m bench.soak

chaos: setup  ## kill the flow at every call it makes; then every fault and every outage at each: an hour or more
	$(BIN)/python tests/chaos/run.py
	$(BIN)/python tests/chaos/run.py --faults --quiet
	$(BIN)/python tests/chaos/run.py --outages --quiet

chaos-real: setup  ## kill a sample of them for real, with processes and SIGKILL: about half an hour
	$(BIN)/python tests/chaos/for_real.py

bench-judge: setup  ## measure the judge against its peers and write docs/judge-measured.md's tables
	$(BIN)/python -m bench.judge

deploy: .venv/.done  ## put every deployment of prefect.yaml on the server that PREFECT_API_URL names
	$(BIN)/python -m blocks deploy

production-check: .venv/.done  ## say what is still missing before the first release, in order: make production-check ENV=production
	$(BIN)/python -m blocks production-check environments/$(ENV).toml

drain: .venv/.done  ## start no more releases and wait for those under way; rollback and recovery go on (docs/operations.md)
	$(BIN)/prefect work-queue pause default --pool playbook
	@running='{"work_pool_queues": {"name": {"any_": ["default"]}}, "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "PAUSED", "CANCELLING"]}}}}'; \
	until [ "$$($(BIN)/prefect api POST /flow_runs/count --data "$$running" | tr -dc 0-9)" = 0 ]; do echo "runs are still under way"; sleep 5; done
	@echo "nothing is under way: restart the worker of the queue default, then: prefect work-queue resume default --pool playbook"

fmt:  ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
