# Two commands matter: `make rehearse` and `make test`. Each sets up what it needs, from a clean clone.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_CLI_PROMPT := false

.PHONY: help setup system rehearse stories check test fmt chaos chaos-real bench-judge deploy drain
help:  ## say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: .venv/.done system  ## install the locked dependencies into .venv, and prometheus and haproxy where missing

.venv/.done: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Say which one: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "python venv is missing: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

system:
	@missing=""; for p in prometheus haproxy; do PATH="$$PATH:/usr/sbin:/sbin" command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	test -z "$$missing" && exit 0; \
	if ! command -v apt-get >/dev/null; then echo "Please install$$missing with this machine's package manager, then run this again."; exit 1; fi; \
	sudo=""; if [ "$$(id -u)" != 0 ]; then command -v sudo >/dev/null || { echo "Please run as root: apt-get install$$missing"; exit 1; }; sudo=sudo; fi; \
	echo "installing$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	$$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null

check: .venv/.done  ## the fast part: lint, types, layers, unit tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/playbook tests/test_house.py

rehearse: setup  ## tell the healthy story: a release, end to end, on this machine
	$(BIN)/python -m rehearsal run healthy

test: setup check  ## everything: the fast part, the world, the blocks, chaos, and six whole stories
	$(BIN)/pytest -q --ignore=tests/playbook --ignore=tests/test_house.py

stories: setup  ## tell every story, one after another
	$(BIN)/python -m rehearsal run all

chaos: setup  ## kill the flow at every call it makes; then every fault and every outage at each
	$(BIN)/python tests/chaos/run.py
	$(BIN)/python tests/chaos/run.py --faults --quiet
	$(BIN)/python tests/chaos/run.py --outages --quiet

chaos-real: setup  ## kill a sample of them for real, with processes and SIGKILL: about half an hour
	$(BIN)/python tests/chaos/for_real.py

bench-judge: setup  ## measure the judge against its peers and write docs/judge.md's tables
	$(BIN)/python -m bench.judge

deploy: .venv/.done  ## put every deployment of prefect.yaml on the server that PREFECT_API_URL names
	$(BIN)/prefect --no-prompt deploy --all

drain: .venv/.done  ## stop taking new runs and wait for those under way, before a worker is stopped
	$(BIN)/prefect work-pool pause playbook
	@running='{"work_pools": {"name": {"any_": ["playbook"]}}, "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "PAUSED", "CANCELLING"]}}}}'; \
	until [ "$$($(BIN)/prefect api POST /flow_runs/count --data "$$running" | tr -dc 0-9)" = 0 ]; do echo "runs are still under way"; sleep 5; done
	@echo "nothing is under way: restart the worker, then: prefect work-pool resume playbook"

fmt:  ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
