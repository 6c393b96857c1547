# Axon's commands. A machine with Rust, Node, Python and make is enough; `make` lists them.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO  ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
DATA   ?= ./axon-data
NODES  ?= 3
ARGS   ?=

UI       := ui-svelte
UI_TOOLS := $(UI)/node_modules/.package-lock.json
# What the dashboard is tried in, and on.
export CHROMIUM ?= $(or $(shell command -v chromium),/usr/bin/chromium)
ON_DEBUG := AXON_LAUNCHER_BIN=$(abspath $(TARGET))/debug/axon-launcher

# Everything is built once, in one profile and with one set of features: with `--workspace
# --all-targets` the binaries, tests, examples and benches share every dependency.
EVERYTHING := --workspace --all-targets
EXAMPLES    = $(shell sed -n '/^\[\[example\]\]/,/^name/s/^name *= *"\(.*\)"/\1/p' examples/Cargo.toml)

.PHONY: help run test test-deep check bench bench-etcd deny clean acceptance once-cost sim mutants screenshots ui ui-test ui-e2e chromium tools fmt clippy tidy build doc examples doctest fuzz tests

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

run: ui ## Build and start a cluster of three nodes with its dashboard (data in ./axon-data; ARGS="..." adds flags)
	$(CARGO) build --release -p axon-server -p axon-launcher
	$(TARGET)/release/axon-launcher --data-dir $(DATA) --nodes $(NODES) $(ARGS)

test: tools fmt clippy build tidy doc examples doctest fuzz ui-test tests ## Everything that has to hold before a merge

test-deep: build ui chromium ## What takes the dashboard long: a million keys, ten minutes of watching (a quarter of an hour)
	cd $(UI) && $(ON_DEBUG) npm run test:e2e:deep

check: fmt clippy tidy ## The quick part of it: format, lints, the rules of the tree

bench: ## Run the benchmarks (ARGS="put/3" selects; reports in target/criterion)
	$(CARGO) bench -p axon-benches --bench log --bench apply --bench range --bench put --bench watch --bench compaction -- $(ARGS)

# The load generator's defaults: puts and linearizable gets, 1, 16, 64 and 256 clients, three pairs.
bench-etcd: ## Compare puts and linearizable gets with etcd's on this machine (needs etcd; ARGS="--pairs 1" adds flags)
	@if ! command -v etcd >/dev/null; then \
		echo 'make bench-etcd needs etcd. On Debian and Ubuntu: apt-get install -y etcd-server' >&2; \
		echo '(its service is not used and may be disabled). Axon alone needs none:' >&2; \
		echo '  cargo build --release -p axon-server && cargo run --release -p axon-benches --bin load -- --targets axon' >&2; \
		exit 1; \
	fi
	$(CARGO) build --release -p axon-server -p axon-benches --bin axon-server --bin load
	$(TARGET)/release/load --json $(TARGET)/bench-etcd.json --plot $(TARGET)/bench-etcd.svg $(ARGS)

fuzz: build ## Hold a running server against its own description (FUZZ_SEED=2 and FUZZ_EXAMPLES=100 ask otherwise)
	axon-server/tests/fuzz/run.sh $(TARGET)/debug/axon-server $(TARGET)

acceptance: ## Try the promises on real processes (half an hour; ARGS="--points data" selects, or 3,8)
	$(CARGO) build --release -p axon-server -p axon-launcher -p axon-benches --bin axon-server --bin axon-launcher --bin acceptance
	$(TARGET)/release/acceptance $(ARGS)

# A target directory of its own: the flag, which lets a seed decide the scheduler's choices too, would
# have everything compiled anew each time.
SIM   = env RUSTFLAGS="--cfg tokio_unstable" $(CARGO) test --profile sim -p axon-core --test sim --target-dir $(TARGET)/sim
SEEDS ?= 200

sim: ## Run simulated clusters from the seeds 1 to SEEDS (200), and 20 of them twice (SEED=17 replays one)
	$(if $(SEED),SIM_SEED=$(SEED) SIM_VERBOSE=1,SIM_SEEDS=$(SEEDS)) $(SIM) -- --nocapture nothing_is_lost
	$(if $(SEED),,SIM_TWICE=20 $(SIM) -- --nocapture replays)

mutants: ## Plant each known bug in the simulated clusters, and see after how many seeds it is found
	SIM_MUTANTS=$(SEEDS) $(SIM) -- --nocapture planted

screenshots: build ui chromium ## Take the pictures of the dashboard in docs/ anew
	cd $(UI) && $(ON_DEBUG) npm run screenshots

once-cost: ## Count what exactly once costs a put, in instructions (needs valgrind)
	$(CARGO) build --release -p axon-benches --bin once_cost
	$(TARGET)/release/once_cost

deny: ## Check licences, advisories, sources and duplicates of the dependencies
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny check; \
	else \
		echo 'make deny needs cargo-deny: cargo install --locked cargo-deny' >&2; exit 1; \
	fi

clean: ## Remove what was built (data in ./axon-data stays)
	$(CARGO) clean
	rm -rf $(UI)/build $(UI)/node_modules $(UI)/.svelte-kit $(UI)/test-results

# The parts.

# Embedded by a release build, and therefore made before it.
ui: $(UI_TOOLS)
	cd $(UI) && npm run build

# npm writes this file last.
$(UI_TOOLS): $(UI)/package-lock.json $(UI)/package.json
	cd $(UI) && npm ci
	@touch $@

ui-test: $(UI_TOOLS)
	cd $(UI) && npm run check && npm run lint && npm run test:unit
	cd $(UI) && npm run build && npm run size

ui-e2e: build ui chromium ## Try the dashboard in Chromium, against a real launcher and real nodes
	cd $(UI) && $(ON_DEBUG) npm run test:e2e

chromium:
	@if [ ! -x "$$CHROMIUM" ]; then \
		sudo=; [ "$$(id -u)" = 0 ] || sudo='sudo -n'; \
		echo 'Installing Chromium: the dashboard is tried in it.'; \
		{ $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends chromium; } || { \
			echo 'The dashboard is tried in Chromium, and it cannot be installed here: install it, or say where it is with CHROMIUM=...' >&2; \
			exit 1; \
		}; \
	fi

tools:
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy $(EVERYTHING) -- -D warnings

# Benches and examples are compiled here too; the launcher's tests need both binaries.
build:
	$(CARGO) build $(EVERYTHING)

tidy:
	$(CARGO) test --workspace --test tidy

doc:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps

# Started from the build directory: `cargo run -p` would choose features anew, and compile anew.
examples: build
	@for example in $(EXAMPLES); do \
		echo "example $$example"; \
		directory=$$(mktemp -d); \
		timeout 120 $(TARGET)/debug/examples/$$example "$$directory/data"; \
		rm -rf "$$directory"; \
	done

doctest:
	$(CARGO) test --workspace --doc

# The longest part is the last, so that what `make test` ends with is the summary of its runner.
tests: build
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace; \
	else \
		$(CARGO) test --workspace --tests; \
	fi
