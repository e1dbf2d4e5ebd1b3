# Two commands do all the set-up: `make demo` and `make test`. They need Python 3.11+ and make; uv is
# installed beside the project when it is missing, and installs the rest from uv.lock.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
# Scripts of the project call uv too.
export PATH := $(CURDIR)/.tools/bin:$(PATH)
RUN := $(UV) run --no-sync
SPARK40 := UV_PROJECT_ENVIRONMENT=.venv-spark40
SPARK41 := UV_PROJECT_ENVIRONMENT=.venv-spark41
BENCHMARK := UV_PROJECT_ENVIRONMENT=.venv-benchmark
PYTEST := $(RUN) pytest
# One more than the two cores of a small machine: tests wait as much as they compute.
SIDE_BY_SIDE := --numprocesses 3 --dist loadfile

.PHONY: help setup setup-spark40 setup-spark41 setup-benchmark demo prefect test test-spark40 test-spark41 test-all test-aws test-e2e test-chaos test-wheel test-cpus test-accuracy test-browser test-exports screenshots check audit format java emr-package benchmark clean

help: ## Show the commands.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

.tools/bin/uv:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed"; exit 1; }
	@python3 -m venv .tools || { echo "python3 cannot make virtual environments: install python3-venv, or uv"; exit 1; }
	@.tools/bin/python -m pip install --quiet uv

setup: $(filter .tools/%,$(UV)) ## Install everything of uv.lock into .venv.
	@$(UV) sync --locked --quiet

demo: setup ## Make 655 photos, featurize and reduce them on Dask, say where to look.
	@$(RUN) fruits demo demo

prefect: setup ## Start Prefect's server and a worker here, deploy, and say where the page is (PORT=4200).
	@$(RUN) python -m deployments.local_server $(if $(PORT),--port $(PORT))

java:
	@version=$$(java -version 2>&1 | sed -nE 's/.* version "([0-9]+).*/\1/p' | head -1 || true); \
	if [ "$${version:-0}" -lt 17 ]; then \
	  echo "The Spark tests need Java 17 or later, found: $${version:-none}."; \
	  echo "Debian, Ubuntu: apt-get install openjdk-17-jre-headless    macOS: brew install openjdk@17"; exit 1; fi

test: setup java ## Run the unit tests, the parity tests on Spark 3.5, and what of the EMR engines runs no Spark.
	$(PYTEST) $(SIDE_BY_SIDE) tests/unit tests/aws -m "not emr_runs and not long"
	$(PYTEST) $(SIDE_BY_SIDE) tests/parity -m "not long"
	$(PYTEST) tests/chaos/test_dask.py -m "not long"

setup-spark40: $(filter .tools/%,$(UV))
	@$(SPARK40) $(UV) sync --locked --quiet --no-default-groups --group dev --group spark40

test-spark40: setup-spark40 java ## Run the parity tests of Spark on Spark 4.0, in an environment of its own.
	$(SPARK40) $(PYTEST) $(SIDE_BY_SIDE) tests/parity/test_spark_*.py tests/parity/test_oracles.py -m "not long"

setup-spark41: $(filter .tools/%,$(UV))
	@$(SPARK41) $(UV) sync --locked --quiet --no-default-groups --group dev --group spark41

test-spark41: setup-spark41 java ## Run the parity tests of Spark on Spark 4.1, in an environment of its own; not part of CI.
	$(SPARK41) $(PYTEST) $(SIDE_BY_SIDE) tests/parity/test_spark_*.py tests/parity/test_oracles.py

test-all: test test-spark40 ## The Spark lines that CI runs: 3.5 and 4.0.

test-aws: setup setup-spark40 setup-spark41 java ## The EMR engines against a stand-in that checks requests and runs the jobs.
	$(PYTEST) tests/aws

test-e2e: setup ## Deployments on a real Prefect server with a real worker.
	$(PYTEST) tests/e2e

test-chaos: setup java ## Kill, fill, cut and starve runs on every engine; what is left must be whole, or one clear error.
	FRUITS_CHAOS_POINTS=20 $(PYTEST) tests/chaos tests/parity/test_spark_tasks.py

test-wheel: setup ## Install the wheel on each Python that is here, run the demo, a Dask cluster, and the image's steps.
	$(PYTEST) tests/wheel

test-cpus: setup ## What a worker computes on emulated CPUs (ARM, Haswell) against this one; needs qemu and debootstrap, minutes.
	$(PYTEST) tests/cpus

test-accuracy: setup ## Name 500 real photos left out of a run by their nearest others; find swapped labels and copies among 6,600.
	$(PYTEST) -s tests/accuracy

test-browser: setup ## The pages in a real browser; needs Chromium.
	$(PYTEST) tests/browser

test-exports: setup ## What fruits export writes, read by datasets, lance, usearch, and PostgreSQL with pgvector.
	$(PYTEST) tests/exports

screenshots: setup ## Take pictures of Prefect's page during and after a run, into ./screenshots; needs Chromium.
	$(RUN) python -m tests.e2e.screenshots screenshots

emr-package: setup ## Build the archive that jobs on EMR run in (ARCHITECTURE=arm64 for Graviton); prints its name and size.
	@$(RUN) python -m deployments.package $(if $(ARCHITECTURE),--architecture $(ARCHITECTURE))

check: setup ## Formatting, lint, types, direction of imports.
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports

audit: $(filter .tools/%,$(UV)) ## Known vulnerabilities of the locked dependencies; says so where there is no network to ask.
	.ci/audit

format: setup ## Format the code and mend what ruff can.
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

setup-benchmark: $(filter .tools/%,$(UV))
	@$(BENCHMARK) $(UV) sync --locked --quiet --no-default-groups --group benchmark

benchmark: setup-benchmark java ## The chain and its baselines side by side: benchmarks.md and a plot (OPTIONS="--images 1320").
	$(BENCHMARK) $(RUN) python -m tests.benchmarks.suite $(OPTIONS)

clean: ## Remove environments, caches and the demo.
	rm -rf .venv .venv-spark40 .venv-spark41 .venv-benchmark .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cpus demo
