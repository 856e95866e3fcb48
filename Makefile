# Every target says what it does: `make help`. What is used from elsewhere is installed by `make setup`, once.

PYTHON ?= python3
BUDGET ?= smoke
JOBS ?= 2
TIME ?= 20s
ARGS ?=
BIN := .venv/bin
LIBRARY_TESTS := $(wildcard tests/test_*.py) tests/crypto tests/group tests/session tests/storage tests/wire tests/workers

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup fuzz campaign fuzz-faults fuzz-speed dictionaries pythons verify nodes table interop trials storm explore figures reach mutants matrix mutation vectors trace test lint format coverage bench docs serve catalogue faults proto wheel gates audit lock clean

help: ## this list
	@echo 'Pawl: the commands of this checkout'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv from the locks, and install the peers where npm or a C compiler is there (nothing to do: no network)
	@$(PYTHON) tools/set_up.py

verify: setup ## hold Pawl to its specification (TARGET=node-libsignal, BUDGET=smoke|pr|nightly, SEED=7, ARGS=--json)
	@$(BIN)/pawl verify --budget $(BUDGET) $(if $(TARGET),--target $(TARGET)) $(if $(SEED),--seed $(SEED)) $(ARGS)

table: setup ## one table of targets and invariants from the reports in build/report (ARGS='--all --json')
	@$(BIN)/pawl table $(ARGS)

interop: setup ## let every implementation talk with every other, both ways (ARGS=--short, ARGS='--scenario loss')
	@$(BIN)/pawl interop --jobs $(JOBS) --expect drivers/interop.json $(ARGS)

nodes: setup ## judge node-libsignal under Node 20, 22 and 24, in short (ARGS=--whole: the whole search; ARGS='--line 22')
	@$(BIN)/python -m tools.node_lines $(ARGS)

vectors: setup ## write the vectors again (ARGS=--check: compare those in vectors/ with what they should be)
	@$(BIN)/pawl vectors generate $(ARGS)

trials: setup ## put the stores on trial: kills, power losses, damage, hammering (BUDGET=nightly, ARGS='kill --store sqlite')
	@$(BIN)/pawl store trial --budget $(if $(filter smoke,$(BUDGET)),pr,$(BUDGET)) $(ARGS)

storm: setup ## put the pool of workers through the long storm: some 220 workers killed, 110,000 jobs (ARGS='--amount 30')
	@$(BIN)/pawl store trial storm --budget nightly $(ARGS)

mutants: setup ## plant every fault of the catalogue; each must be killed by the invariant that names it (ARGS='--only NAME')
	@$(BIN)/pawl mutants --check --jobs $(JOBS) $(ARGS)

matrix: setup ## make the committed kill matrix and its page again
	@$(BIN)/pawl mutants --jobs $(JOBS) $(ARGS)
	@cp build/mutants/matrix.json src/pawl_gate/controls/matrix.json
	@$(BIN)/python -m tools.make_faults

explore: setup ## explore every scope of the model to its end, and reach each state on Pawl (ARGS='smoke --json')
	@$(BIN)/pawl explore $(or $(ARGS),all)

figures: setup ## write the counts of the exhaustive search again (some minutes; read the difference)
	@$(BIN)/python -m tools.write_figures

reach: setup ## write the list of what each engine must reach again (read the difference)
	@$(BIN)/python -m tools.write_reach $(ARGS)

fuzz: setup ## run the whole corpus twice, then fuzz each entry point (TIME=20s, ENTRY=session_trace, ARGS=--json)
	@$(BIN)/pawl corpus verify --jobs $(JOBS)
	@$(BIN)/pawl fuzz run $(or $(ENTRY),all) --time $(TIME) --jobs $(JOBS) $(ARGS)

campaign: setup ## fuzz in rounds, from the corpus (TIME=8h, ARGS='--engine dask://HOST:PORT', ARGS=--resume)
	@$(BIN)/pawl campaign --jobs $(JOBS) --time $(if $(filter 20s,$(TIME)),10m,$(TIME)) $(ARGS)

test: setup ## run the tests (ARGS='-k storage')
	@echo 'test: running the tests on $(JOBS) processes' >&2
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal $(ARGS)

lint: setup ## style, types, one-way arrows, and that what is generated is up to date
	@echo 'lint: ruff' >&2
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@echo 'lint: mypy --strict' >&2
	@$(BIN)/mypy
	@echo 'lint: arrows between packages and rooms' >&2
	@$(BIN)/lint-imports --no-cache
	@echo 'lint: generated code and pages' >&2
	@$(BIN)/python tools/generate_protobuf.py --check
	@$(BIN)/python -m tools.make_catalogue --check
	@$(BIN)/python -m tools.make_faults --check
	@$(BIN)/python -m tools.make_entries --check
	@$(BIN)/python -m tools.make_dictionaries --check
	@echo 'lint: the schemas of traces and vectors' >&2
	@$(BIN)/python -m tools.write_schema --check
	@echo 'lint: traceability' >&2
	@$(BIN)/pawl trace --no-page

format: setup ## let ruff format the code and sort its imports
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

coverage: setup ## the branch coverage of src/pawl by its own tests; fails below 98 %, or where a gap has no written reason
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal --cov --cov-report=term --cov-report=json:build/coverage.json $(LIBRARY_TESTS) $(ARGS)
	@$(BIN)/python -m tools.check_coverage build/coverage.json

mutation: setup ## plain mutants of src/pawl, do the tests notice? (SAMPLE=300 SEED=1, or SINCE=origin/main; neither: all)
	@$(BIN)/python -m tools.mutation $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) \
	  $(SINCE:%=--since %) $(ARGS)

fuzz-faults: setup ## plant each of the fuzzers' faults and measure how long it takes to be found (ARGS=NAME)
	@$(BIN)/python -m tools.fuzz_faults $(ARGS)

fuzz-speed: setup ## executions a second of each entry point, and what bounds them (ARGS=NAME)
	@$(BIN)/python -m tools.fuzz_speed $(ARGS)

dictionaries: setup ## write the words of each entry point for libFuzzer again
	@$(BIN)/python -m tools.make_dictionaries

pythons: setup ## replay the whole corpus twice under each supported Python that is here (ARGS='signal_message --json')
	@$(BIN)/python -m tools.pythons $(ARGS)

bench: setup ## time the public API beside its floor of bare primitives (ARGS='--rounds 15 --json'; ARGS=stores, groups, workers, harness, fleet)
	@$(BIN)/python -m bench.run $(ARGS)

docs: setup ## build the documentation into build/site (its generator is set up at the first run)
	@$(BIN)/python -m tools.make_site

serve: docs ## build the documentation and serve it on this machine, port 8000
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site 8000

trace: setup ## follow each line of the threat model to its code and evidence, build/report/trace.html (ARGS=--write)
	@$(BIN)/pawl trace $(ARGS)

catalogue: setup ## write the catalogue of invariants from the registry again
	@$(BIN)/python -m tools.make_catalogue

faults: setup ## write the catalogue of planted faults again
	@$(BIN)/python -m tools.make_faults

proto: setup ## generate the protobuf code again
	@$(BIN)/python tools/generate_protobuf.py

wheel: setup ## build the wheel, install it alone in an empty environment and run the README's example there
	@$(BIN)/python -m tools.check_wheel

gates: setup ## check workflows, build twice and compare, write and check the bill of materials, into build/release
	@$(BIN)/python -m tools.gates

audit: setup ## look the locked packages up among known vulnerabilities; needs the network, and says so without
	@$(BIN)/python -m tools.audit

lock: ## pin all dependencies with hashes again (ARGS=--upgrade for the newest releases)
	@test -x .venv-lock/bin/pip-compile || { $(PYTHON) -m venv .venv-lock && \
	  .venv-lock/bin/pip install --quiet --no-deps --require-hashes -r requirements/lock-tool.txt; }
	@.venv-lock/bin/python tools/lock.py $(ARGS)

clean: ## remove whatever make made: environments, packages of the Node peers, builds, caches
	@rm -rf .venv .venv-lock .venv-docs .venv-gates build dist mutants drivers/*/node_modules drivers/*/build drivers/*/.venv .coverage .coverage.* .hypothesis .*_cache
	@find src spec tests tools bench -name __pycache__ -prune -exec rm -rf {} +
