# Every target does its own set-up. `make PYTHON=python3.12 setup` chooses the interpreter.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow sim check fmt bench bench-quick requirements emulators clients monitoring registry scanners events reference diagrams observability knative topics protos sam browser screenshots clean

export PYTHON
# Compiled modules start three times faster; a caller who switched them off is overruled.
export PYTHONDONTWRITEBYTECODE :=

python := .venv/bin/python
# How many test processes run beside each other: twice as many as CI has cores, as tests also wait.
PROCESSES ?= 4
ready := .venv/ready
emulators := .venv/emulators/ready
clients := .venv/clients/ready
sam := .venv/sam/ready
browser := .venv/browser/ready
monitoring := .venv/monitoring/ready
registry := .venv/registry/ready
scanners := .venv/scanners/ready

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(ready) ## make .venv with the pinned requirements and the project

$(ready): infra/setup infra/requirements/dev.txt pyproject.toml
	@infra/setup

emulators: $(emulators) ## make .venv/emulators: what tests speak to in place of AWS

$(emulators): infra/requirements/emulators.txt | $(ready)
	@$(python) -m venv --clear .venv/emulators
	@.venv/emulators/bin/python -m pip install -qq --require-hashes --no-deps -r infra/requirements/emulators.txt
	@touch $@

clients: $(clients) ## make .venv/clients: the generator of API clients that a test tries

$(clients): infra/requirements/clients.txt | $(ready)
	@$(python) -m venv --clear .venv/clients
	@.venv/clients/bin/python -m pip install -qq --require-hashes --no-deps -r infra/requirements/clients.txt
	@touch $@

browser: $(browser) ## bring a Chromium for the tests of the console, if none is installed

$(browser): infra/browser | $(ready)
	@infra/browser

monitoring: $(monitoring) ## bring a Prometheus and an Alertmanager for tests, if none are installed

$(monitoring): infra/monitoring | $(ready)
	@infra/monitoring

registry: $(registry) ## bring a container registry and umoci for tests, if none are installed

$(registry): infra/registry | $(ready)
	@infra/registry

scanners: $(scanners) ## make .venv/scanners: scanners that tests of the executor `scan` run

$(scanners): infra/requirements/scanners.txt | $(ready)
	@$(python) -m venv --clear .venv/scanners
	@.venv/scanners/bin/python -m pip install -qq --require-hashes --no-deps -r infra/requirements/scanners.txt
	@touch $@

$(sam): infra/requirements/sam.txt | $(ready)
	@$(python) -m venv --clear .venv/sam
	@.venv/sam/bin/python -m pip install -qq --no-compile --require-hashes --no-deps -r infra/requirements/sam.txt
	@touch $@

demo: $(ready) ## start everything, submit the sample decision and watch it complete
	@.venv/bin/flowc demo

test: $(ready) $(emulators) $(browser) ## run all tests but the slow ones
	@$(python) -m pytest -m "not slow" --numprocesses $(PROCESSES) --dist worksteal

test-slow: $(ready) $(emulators) $(clients) $(browser) $(monitoring) $(registry) $(scanners) ## run the slow tests
	@$(python) -m pytest -m slow --timeout 600

screenshots: $(ready) $(browser) ## make the pictures of the console in docs/images
	@SCREENSHOTS=1 $(python) -m pytest tests/console/test_screenshots.py -p no:randomly

sim: $(ready) ## simulate 1,000 flows with every fault, and check every invariant at each of their steps
	@.venv/bin/flowc simulate --runs 1000

check: $(ready) ## check format, lint and types
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy --strict flowc functions infra/generate tests

fmt: $(ready) ## format, and fix what can be fixed
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

bench: $(ready) ## run the benchmarks (tests/benchmarks/bench_*.py)
	@$(python) -m pytest tests/benchmarks -o python_files='bench_*.py' -p no:randomly --timeout 0 -s

bench-quick: $(ready) ## compare what a W1 flow costs with what is recorded (a minute; CI does it, too)
	@$(python) -m tests.benchmarks.quick

requirements: $(ready) ## pin the newest versions that fit pyproject.toml
	@infra/requirements/compile

events: $(ready) ## write events/ from the models
	@$(python) -m infra.generate.events

reference: $(ready) ## write the generated pages of docs/reference again from the code
	@$(python) -m infra.generate.reference

protos: $(ready) ## compile events/proto for the gRPC server
	@$(python) -m infra.generate.protos

diagrams: $(ready) ## draw the diagrams of docs/internals/architecture.md from the tables
	@$(python) -m infra.generate.diagrams

observability: $(ready) ## write infra/observability/ from the metric catalogue
	@$(python) -m infra.generate.observability

knative: $(ready) ## write the made part of infra/knative/ from routes and metrics
	@$(python) -m infra.generate.knative

topics: $(ready) ## write infra/topics/ from the catalogue of events
	@$(python) -m infra.generate.topics

sam: $(ready) $(sam) ## check template.yaml and build what `sam deploy` takes to AWS (RUNTIME=python3.12 for another one)
	@infra/aws/build

clean: ## remove what the other targets made
	@rm -rf .aws-sam .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
