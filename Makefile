# Every target works on a fresh clone: what it needs is installed into .venv first.

PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOWEST := $(VENV)/lowest
FUZZING := $(VENV)/.fuzzing

# Every process of the platform imports the same modules: without bytecode each start costs a second.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: chaos help demo stop test unit contract sim test-sim-bugs test-edge integration conformance test-wire test-clients test-compiled wheels fuzz fuzz-calls test-bench bench bench-fleet soak docs-test test-postgres lowest lint format types imports protos gen clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml sdk/python/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; say which: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing into $(VENV) (once, about a minute)"
	@# Anew each time: what is no longer declared must not be there by chance, nor two Pythons in one environment.
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable sdk/python --editable ".[all,postgresql,demo,dev]"
	@# Only a data file of this package is read, so its own dependencies stay out.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps river
	@touch $@

demo: $(INSTALLED)  ## The platform up, a real model at a position, an xApp calling it (KEEP=1 leaves it running)
	@$(BIN)/python -m examples.demo $(if $(KEEP),--keep)

stop: $(INSTALLED)  ## Stop what `make demo KEEP=1` left running
	@$(BIN)/waypost down --data-dir .waypost/demo

# Two processes, as for two cores: more would let real processes wait for one another.
WORKERS := --numprocesses 2 --dist loadfile

test: $(INSTALLED)  ## Unit, contract, sim, integration, security, conformance, e2e, docs
	@$(BIN)/python -m pytest --quiet $(WORKERS) --ignore tests/wire --ignore tests/clients --ignore tests/compiled --ignore tests/bench \
		--ignore tests/sim/test_bugs.py --ignore tests/edge --ignore tests/hostile

test-edge: $(INSTALLED)  ## An edge server's long life: upgrades, the version before, maintenance windows, links over TLS
	@$(BIN)/python -m pytest --quiet tests/edge

unit: $(INSTALLED)  ## Pure code, no socket, no sleep
	@$(BIN)/python -m pytest --quiet $(WORKERS) tests/unit

contract: $(INSTALLED)  ## One suite per seam, on every implementation that is here
	@$(BIN)/python -m pytest --quiet tests/contract

SEEDS ?= 200
sim: $(INSTALLED)  ## The whole mesh on virtual time, while everything fails (SEEDS=1000; SEED=123 tells all of one run)
	@$(if $(SEED),,$(BIN)/python -m pytest --quiet tests/sim/test_link_sim.py --seeds $(SEEDS))
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

test-sim-bugs: $(INSTALLED)  ## Does the simulator find each of the bugs that are kept in tests/sim/bugs?
	@$(BIN)/python -m pytest --quiet tests/sim/test_bugs.py

integration: $(INSTALLED)  ## Real processes, real gRPC
	@$(BIN)/python -m pytest --quiet tests/integration

conformance: $(INSTALLED)  ## Stock clients against our hosts
	@$(BIN)/python -m pytest --quiet tests/conformance

test-wire: $(INSTALLED)  ## Our HTTP/2 against h2spec, grpc-go and grpc-java (needs Java and Maven)
	@$(BIN)/python -m pytest --quiet tests/wire

test-clients: $(INSTALLED)  ## KServe's clients and perf_analyzer against our hosts (brings both, 0.5 GB)
	@$(BIN)/python -m pytest --quiet tests/clients

COMPILED := build/compiled
test-compiled: $(INSTALLED)  ## The host and the wire as their wheels hold them, compiled (needs gcc and python3-dev)
	@$(BIN)/python -m tools.wheels --unpack $(COMPILED)
	@ln -sfn $(CURDIR)/tests $(COMPILED)/tests
	@cd $(COMPILED) && PYTHONPATH=$(CURDIR)/$(COMPILED) $(CURDIR)/$(BIN)/python -m pytest --quiet -p no:cacheprovider \
		--config-file $(CURDIR)/pyproject.toml --rootdir . \
		tests/compiled tests/unit/sdk/wire tests/unit/inference_host tests/fuzz tests/conformance

wheels: $(INSTALLED)  ## Wheels in dist/ with the hot path compiled: a third less CPU per call (needs gcc and python3-dev)
	@$(BIN)/python -m tools.wheels

FUZZ_RUNS ?= 500000
fuzz: $(FUZZING)  ## What reads a stranger's bytes, with made-up ones (FUZZ_RUNS=500000 for each of six targets, FUZZ_SEED=)
	@$(BIN)/python -m tests.fuzz.coverage_check
	@$(BIN)/python -m tests.fuzz.campaign $(FUZZ_RUNS) $(FUZZ_SEED)

CALLS ?= 300
fuzz-calls: $(INSTALLED)  ## Every RPC of every server, with requests that nobody would send (CALLS=300 for each)
	@HOSTILE_CALLS=$(CALLS) $(BIN)/python -m pytest --quiet tests/hostile

$(FUZZING): $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[fuzz]"
	@touch $@

test-bench: $(INSTALLED)  ## The benchmark's own tests (needs g++)
	@$(BIN)/python -m pytest --quiet tests/bench

bench: $(INSTALLED)  ## The host beside its peers (QUICK=1, PEERS=all, CHECK=1)
	@$(BIN)/python -m tests.bench $(if $(PEERS),--peers $(PEERS)) $(if $(QUICK),--quick) $(if $(CHECK),--check)

AGENTS ?= 5000
bench-fleet: $(INSTALLED)  ## One control plane under thousands of agents, writes docs/fleet.md (AGENTS=5000, CHECK=1)
	@$(BIN)/python -m tests.bench.fleet --agents $(AGENTS) $(if $(CHECK),--check)

chaos: $(INSTALLED)  ## Break real processes and networks, count the calls, write docs/chaos.md (ONLY=REGEX UPDATE=1; root, faketime; 40 minutes)
	@$(BIN)/python -m tests.chaos $(if $(ONLY),--only "$(ONLY)") $(if $(UPDATE),--update)

soak: $(INSTALLED)  ## A million calls of all kinds: does the host's memory settle? (needs g++; a few minutes)
	@$(BIN)/python -m tests.bench.soak

docs-test: $(INSTALLED)  ## Every example of the docs
	@$(BIN)/python -m pytest --quiet tests/docs

test-postgres: $(INSTALLED)  ## The store and the control plane on a real PostgreSQL (apt-get install postgresql)
	@$(BIN)/python tools/with_postgres.py $(BIN)/python -m pytest --quiet -k postgres \
		tests/contract/test_stores.py tests/integration/test_control_plane.py tests/integration/test_backup.py \
		tests/integration/test_several_control_planes.py tests/integration/test_version_before.py \
		tests/integration/test_calls_while_control_planes_die.py

# Without a cache, so that `pytest --last-failed` still means the tests of the environment that people use.
lowest: $(LOWEST)/.installed  ## Unit, contract and one whole platform on the oldest versions that we allow
	@$(LOWEST)/bin/python -m pytest --quiet $(WORKERS) -p no:cacheprovider tests/unit tests/contract \
		tests/integration/test_cli.py::test_a_platform_from_nothing_to_an_answer_and_to_nothing_again

$(LOWEST)/.installed: $(INSTALLED)
	@$(PYTHON) -m venv --clear $(LOWEST)
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --only-binary :all: \
		--editable sdk/python --editable ".[all,postgresql,demo,test]"
	@touch $@

lint: $(INSTALLED) protos imports types  ## Format, lint, types, import contracts, protos
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

format: $(INSTALLED)  ## Write the format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: $(INSTALLED)  ## mypy, strict
	@$(BIN)/mypy

imports: $(INSTALLED)  ## Who may import whom
	@$(BIN)/lint-imports

protos: $(INSTALLED)  ## Lint the protos, refuse breaking changes and stale generated code
	@$(BIN)/python tools/gen_protos.py --check
	@$(BIN)/python tools/gen_protos.py --image $(VENV)/protos.binpb
	@$(BIN)/buf lint $(VENV)/protos.binpb --config protos/buf.yaml --path waypost
	@$(BIN)/buf breaking $(VENV)/protos.binpb --against protos/baseline.binpb --config protos/buf.yaml --path waypost

gen: $(INSTALLED)  ## Generate the Python of protos/ (then look at the diff)
	@$(BIN)/python tools/gen_protos.py

clean:  ## Remove the environment, wheels and caches (not .waypost: that is data)
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
