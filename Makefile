# `make test` needs Rust and a C compiler only. `make deps` installs what `make test-all` needs beyond that.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What end-to-end tests call as an operator would; their packages have the same names on Debian and Ubuntu.
TOOLS := curl jq python3 sqlite3
# What the tests of the other backends, of the infrastructure and of the containers start.
SERVERS := redis-server redis-cli promtool java npm ip terraform shellcheck dockerd debootstrap
VENV := target/venv
# Servers live where ordinary users do not look.
export PATH := $(PATH):/usr/sbin:/sbin
STAGE := scripts/stage

HOST := $(shell rustc -vV | sed -n 's/^host: //p')
OUT := $(or $(CARGO_TARGET_DIR),target)
# A process is started for each attempt, and most of a short job is its start. An executable that is linked
# statically and at a fixed address starts with half the page faults of a static one that relocates itself
# (55 instead of 106) and 0.6 of its CPU time; the price is that its own addresses are not randomised.
# glibc can be linked statically where its libc.a is installed (libc6-dev has it, some distributions
# package it apart). Naming the target keeps the flags away from procedural macros, which cannot be static,
# and moves the output into a folder of the target's name.
# The standard library uses posix_spawn for a child with a working directory only if the linked libc has this
# function, which it looks up weakly; a static libc has what somebody asks for. A fork instead copies the page
# tables of the orchestrator for each task, and its threads pay with a page fault for each page they write to.
LIBC_A := $(shell cc -print-file-name=libc.a 2>/dev/null)
ifneq ($(filter x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu,$(HOST)),)
ifneq ($(filter /%,$(LIBC_A)),)
STATIC := --target $(HOST) --config 'target.$(HOST).rustflags=["-C","target-feature=+crt-static","-C","relocation-model=static","-C","link-arg=-Wl,-u,posix_spawn_file_actions_addchdir_np"]'
BINARY := $(OUT)/$(HOST)/release/agent-runner
endif
endif
BINARY ?= $(OUT)/release/agent-runner

.PHONY: help aws-smoke build test test-backends test-aws-long test-infra test-infra-apply test-compose compose-test test-containers test-all check audit deps bench bench-short bench-aws bench-peers bench-pool bench-pool-short check-macos chaos-redis simulate soak model mutants fuzz fuzz-http crash-points

help: ## Lists the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

build: ## Builds the release executable, static where possible, and prints where it is.
	cargo build --release --locked -p agent-runner $(STATIC)
	@echo "$(BINARY)"

# The backends of a laptop. Without Redis and AWS the tests compile in a third of the time.
LEAN := --workspace --no-default-features --features agent-runner-backends/sqlite,agent-runner-reconciler/sqlite,agent-runner-reconciler/process,agent-runner-api/sqlite,agent-runner-worker/sqlite

test: ## Runs every test that needs Rust and a C compiler only; names what it left out.
	cargo test $(LEAN) --locked --quiet
	@for tool in $(TOOLS); do \
	  command -v "$$tool" >/dev/null || echo "left out: tests that call $$tool, which is not installed (make deps)"; \
	done
	@echo "left out: Redis, AWS and the worker pool (make deps, then make test-backends)"
	@echo "left out: Terraform and the scripts of infra/ (make test-infra), containers (make test-compose, test-containers)"
	@echo "left out: killing things at random for long (make soak), and at every step once (make crash-points)"
	@echo "left out: the large spaces of the launch protocol's model (make model)"
	@echo "left out: formatting and lints (make check)"
	@echo "left out: advisories and licences of dependencies (make audit)"

# Each run prints its seed; TESTBED_SEED repeats one.
SOAK_SECONDS ?= 120
soak: ## Kills orchestrators, workers and both at random for SOAK_SECONDS each, under load.
	TESTBED_SOAK_SECONDS=$(SOAK_SECONDS) cargo test --locked -p agent-runner-testbed --test chaos -- --nocapture

POINTS ?=
OCCURRENCES ?=
crash-points: ## Kills it before and after everything it does, or at POINTS=close; OCCURRENCES=all: each time.
	CRASH_POINTS=$(POINTS) CRASH_OCCURRENCES=$(OCCURRENCES) cargo test --locked --quiet -p agent-runner-testbed \
	  --features agent-runner-testbed/crash-points --test crash_points

SPACES ?= all
model: ## Exhausts the large spaces of the launch protocol's model, or SPACES of them: minutes and gigabytes each.
	cargo test --locked -p agent-runner-plan --test model_spaces -- $(SPACES)

# Sets of scripts/mutants; EVERY=5 takes each fifth mutant.
SETS ?=
mutants: ## Runs the tests once for each mutant of what decides, decodes and checks, or of SETS of it.
	command -v cargo-mutants >/dev/null || cargo install cargo-mutants --locked
	@scripts/mutants --every $(or $(EVERY),1) $(SETS)

DECODES ?= 10000000
fuzz: ## Decodes DECODES=10000000 hostile inputs made from SEED=0 on, over all cores.
	cargo run --release --locked --quiet -p agent-runner-testbed --no-default-features --features redis,aws --bin fuzz -- --decodes $(DECODES) --seed $(or $(SEED),0)

# At 40 to 80 cases a second; the cases are counted at the end.
FUZZ_SECONDS ?= 2400
fuzz-http: build ## Asks the API whatever its OpenAPI document allows and forbids for FUZZ_SECONDS, with SEED if given.
	@TEST_EVERYTHING=1 VENV=$(VENV) scripts/fuzz-http "$(BINARY)" 1000 $(FUZZ_SECONDS)

# Every backend. The suites of the lean run are not repeated; what they test does not depend on these features.
FULL := -p agent-runner-backends -p agent-runner-reconciler -p agent-runner-worker -p agent-runner-testbed \
  --features agent-runner-backends/redis,agent-runner-backends/dynamodb,agent-runner-backends/s3,agent-runner-backends/sqs,agent-runner-testbed/aws,agent-runner-testbed/redis

test-backends: ## Runs the tests against Redis, MiniStack, DynamoDB Local and the ECS double.
	cargo test $(FULL) --locked --quiet --lib \
	  --test fuzz_decode --test 'redis_*' --test 'dynamodb_*' --test 's3_*' --test 'sqs_*' --test 'pool*' --test 'ecs_*' --test 'aws_*'

test-aws-long: ## Runs 500 jobs as on AWS with every fault of ECS, and outages of 30 s: MiniStack and the ECS double.
	TESTBED_LONG=1 cargo test $(FULL) --locked --test aws_faults -- --nocapture --test-threads 1

test-infra: ## Tests the Terraform module and the scripts of infra/ offline.
	@VENV=$(VENV) scripts/infra-test

test-infra-apply: ## Applies the Terraform module to MiniStack, looks at what is there, destroys it: 2 minutes.
	@VENV=$(VENV) scripts/infra-test apply

# What the images of the tests hold: no AWS, which would triple the time to compile them.
IMAGES := -p agent-runner-api -p agent-runner-reconciler -p agent-runner-worker --no-default-features --features sqlite,redis

test-compose: ## Tests the stack of compose/ in a Docker engine, as root.
	@VENV=$(VENV) scripts/compose-test "$(dir $(BINARY))" cargo build --release --locked --quiet $(IMAGES) $(STATIC)

compose-test: test-compose ## Another name of test-compose.

# The programs that other tests start, too, unless TESTBED_SERVERS names a folder of others.
test-containers: export TESTBED_SERVERS ?= $(abspath $(OUT))/debug
test-containers: ## Runs jobs as on AWS with workers in containers of a Docker engine, as root.
	cargo build --locked --quiet -p agent-runner-api -p agent-runner-reconciler -p agent-runner-worker
	@scripts/containers-test "$$TESTBED_SERVERS" \
	  cargo test $(FULL) --locked --test containers -- --nocapture

aws-smoke: ## Runs one job in a real AWS account, after it has printed the price and asked; writes down what it saw.
	infra/scripts/smoke

test-all: ## Runs everything; a missing tool is an error.
	@missing=""; \
	for tool in $(TOOLS) $(SERVERS) $(VENV)/bin/ministack; do command -v "$$tool" >/dev/null || missing="$$missing $$tool"; done; \
	if [[ -n $$missing ]]; then echo "not installed:$$missing; type: make deps" >&2; exit 1; fi
	@$(STAGE) check $(MAKE) --no-print-directory check
	@TEST_EVERYTHING=1 $(STAGE) test $(MAKE) --no-print-directory test
	@$(STAGE) crash-points $(MAKE) --no-print-directory crash-points
	@TEST_EVERYTHING=1 $(STAGE) --twice test-backends $(MAKE) --no-print-directory test-backends
	@TEST_EVERYTHING=1 $(STAGE) --twice test-infra $(MAKE) --no-print-directory test-infra
	@TEST_EVERYTHING=1 $(STAGE) test-infra-apply $(MAKE) --no-print-directory test-infra-apply
	@TEST_EVERYTHING=1 $(STAGE) --twice test-compose $(MAKE) --no-print-directory test-compose
	@TEST_EVERYTHING=1 $(STAGE) --twice test-containers $(MAKE) --no-print-directory test-containers
	@$(STAGE) build $(MAKE) --no-print-directory build
	@$(STAGE) hello scripts/hello "$(BINARY)"
	@# The same cases each time: what new ones find belongs to whoever runs make fuzz-http.
	@SEED=$(or $(SEED),1) TEST_EVERYTHING=1 VENV=$(VENV) $(STAGE) fuzz-http scripts/fuzz-http "$(BINARY)" 5

check: ## Checks formatting, lints and the forbidden edges between crates.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features --locked --quiet -- -D warnings
	cargo clippy $(LEAN) --all-targets --locked --quiet -- -D warnings
	cargo test --locked --quiet -p agent-runner --test edges

# SQLite is C, and no compiler for the other system is there: its library is only named, and nothing is linked.
check-macos: ## Compiles for macOS as far as that goes without one: every type of the quick start's program is checked.
	rustup target add aarch64-apple-darwin
	LIBSQLITE3_SYS_USE_PKG_CONFIG=1 SQLITE3_LIB_DIR=. SQLITE3_INCLUDE_DIR=. \
	  cargo check --locked -p agent-runner --target aarch64-apple-darwin

audit: ## Checks licences, bans and advisories with cargo-deny; installs it, which takes minutes.
	command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny --all-features check

deps: ## Installs what test-all needs.
	@scripts/deps $(TOOLS) $(SERVERS)

# Both build what is measured as `build` does. The static C programs need the libc.a that a static
# executable needs.
bench: build ## Measures the main job against its goals: target/bench/main-job.json and a table, 5 minutes.
	cargo run --release --locked --quiet -p agent-runner-testbed --bin bench -- --agent-runner "$(BINARY)" $(BENCH_FLAGS)

bench-short: BENCH_FLAGS += --short --rounds 1
bench-short: bench ## The same with small numbers in one round: shows that the benchmark works, and no speed.

bench-peers: ## Installs what bench-pool compares with, into target/peers: BullMQ with npm, Celery with pip.
	@testbed/peers/install target/peers

# Further folders of programs can be measured in the same rounds: BENCH_FLAGS="--before <folder>".
bench-pool: bench-peers ## Measures the team's stack against BullMQ and Celery: target/bench/pool.json and a table, 4 minutes.
	cargo build --release --locked --quiet $(IMAGES) $(STATIC)
	cargo run --release --locked --quiet -p agent-runner-testbed --features redis --bin bench-pool -- \
	  --programs "$(dir $(BINARY))" $(BENCH_FLAGS)

bench-pool-short: BENCH_FLAGS += --short
bench-pool-short: bench-pool ## The same with small numbers in one round: shows that the benchmark works, and no speed.

chaos-redis: ## Kills any part of the team's stack every second for two minutes under 2,000 jobs.
	TESTBED_CHAOS_SECONDS=120 TESTBED_CHAOS_JOBS=2000 cargo test --locked -p agent-runner-testbed --features redis \
	  --test pool_team -- --nocapture killed_every_second

bench-aws: ## Measures the system as on AWS against the ECS double at AWS's default quotas: target/bench/aws.json and a table.
	cargo run --release --locked --quiet -p agent-runner-testbed --features aws --bin bench-aws -- $(BENCH_FLAGS)

SEEDS ?= 100000
simulate: ## Runs the reconciler in a simulated world with SEEDS=100000 seeds from FROM=0 on, over all cores.
	cargo run --release --locked --quiet -p agent-runner-testbed --bin simulate -- --seeds $(SEEDS) --from $(or $(FROM),0)
