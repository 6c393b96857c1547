# Axon's commands. A machine with Rust, Node, Python and make is enough; `make` lists them.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO  ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
DATA   ?= ./axon-data
NODES  ?= 3
ARGS   ?=
SECONDS ?= 60
CASES  ?= 20000
SEEDS  ?= 200
FLIP_STEP ?= 97
CUT_SEEDS ?= 6
PROFILE ?=

# What an incremental build keeps for the next one takes more room than the build itself, and these
# commands are not the ones repeated after each edit.
export CARGO_INCREMENTAL ?= 0

UI       := ui-svelte
UI_TOOLS := $(UI)/node_modules/.package-lock.json
# What the dashboard is tried in, and on.
export CHROMIUM ?= $(or $(shell command -v chromium),/usr/bin/chromium)
ON_DEBUG := AXON_LAUNCHER_BIN=$(abspath $(TARGET))/debug/axon-launcher

# Everything is built once, in one profile and with one set of features: with `--workspace
# --all-targets` the binaries, tests, examples and benches share every dependency.
EVERYTHING := --workspace --all-targets
EXAMPLES    = $(shell sed -n '/^\[\[example\]\]/,/^name/s/^name *= *"\(.*\)"/\1/p' examples/Cargo.toml)

.PHONY: help run test proof torture test-deep check bench bench-etcd deny clean acceptance once-cost screenshots ui ui-test ui-e2e ui-tools tools fmt clippy tidy build doc examples doctest fuzz tests chaos chaos-tools hostile properties bench-smoke bench-record bench-once bench-scale bench-tail sim mutants

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

run: ui ## Build and start a cluster of three nodes with its dashboard (data in ./axon-data; ARGS="..." adds flags)
	$(CARGO) build --release -p axon-server -p axon-launcher
	$(TARGET)/release/axon-launcher --data-dir $(DATA) --nodes $(NODES) $(ARGS)

test: tools fmt clippy build tidy doc examples doctest fuzz ui-test ui-e2e tests proof ## Everything that has to hold before a merge

# It has figures of its own to keep, and so the binaries that people run.
test-deep: ui ui-tools ## What takes the dashboard long: a million keys, ten minutes of watching (a quarter of an hour)
	$(CARGO) build --release -p axon-server -p axon-launcher
	cd $(UI) && AXON_LAUNCHER_BIN=$(abspath $(TARGET))/release/axon-launcher npm run test:e2e:deep

check: fmt clippy tidy ## The quick part of it: format, lints, the rules of the tree

BENCHES := machine apply log recovery snapshot put get txn range watch compaction

bench: ## Run the benchmarks (a quarter of an hour; ARGS="put/3" selects; plots in target/criterion, figures in target/bench.json)
	@mkdir -p $(TARGET)
	@touch $(TARGET)/bench.begun
	$(CARGO) bench -p axon-benches $(BENCHES:%=--bench %) -- $(ARGS)
	$(CARGO) run --release -p axon-benches --bin bench_summary -- --target $(TARGET) --since $(TARGET)/bench.begun --out $(TARGET)/bench.json

# A part of them, each in a process of its own; a filter begins with the benchmark that it is of.
SMOKE := machine apply/overwrites log/append/64 put/3-replicas/1$$ put/3-replicas/64 put/3-replicas/256 get/3-replicas/linearizable/64 txn/3-replicas/64 range/now/get watch/puts/1000$$ recovery/keys/100000 snapshot/build

bench-smoke: ## Run a part of the benchmarks, and print them as ratios to benches/recorded.json (two minutes; on a machine that does nothing else)
	$(CARGO) build --release -p axon-benches --bin bench_summary
	$(CARGO) bench -p axon-benches $(foreach what,$(SMOKE),--bench $(firstword $(subst /, ,$(what)))) --no-run
	@touch $(TARGET)/bench.begun
	@for what in $(SMOKE); do $(CARGO) bench -q -p axon-benches --bench "$${what%%/*}" -- --noplot --warm-up-time 1 --measurement-time 2 "$$what" || exit 1; done > $(TARGET)/bench-smoke.log 2>&1 || { tail -20 $(TARGET)/bench-smoke.log; exit 1; }
	$(TARGET)/release/bench_summary --target $(TARGET) --since $(TARGET)/bench.begun --out $(TARGET)/bench-smoke.json --against benches/recorded.json

bench-record: bench-smoke ## The same, and what came out is what later runs are compared with
	cp $(TARGET)/bench-smoke.json benches/recorded.json

# In the profile and with the features that everything else is built with.
bench-once: build ## Run each benchmark once, to find out whether it still runs
	$(CARGO) test --workspace $(BENCHES:%=--bench %)

bench-scale: ## Measure what Axon costs as there is more: keys, bytes, connections, watchers, replicas (ten minutes; ARGS="--only keys")
	$(CARGO) build --release -p axon-server -p axon-benches --bin axon-server --bin load
	$(TARGET)/release/load scale --json $(TARGET)/bench-scale.json --markdown $(TARGET)/bench-scale.md --plot $(TARGET)/bench-scale.svg $(ARGS)

bench-tail: ## Measure how long puts take while something else happens (five minutes; ARGS="--only restart")
	$(CARGO) build --release -p axon-benches --bin load
	$(TARGET)/release/load tail --json $(TARGET)/bench-tail.json --markdown $(TARGET)/bench-tail.md --plot $(TARGET)/bench-tail.svg $(ARGS)

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

hostile: build ## Send a server, a launcher and their peer ports what nobody must send (ARGS="--times 15")
	$(TARGET)/debug/hostile $(ARGS)

# What docs/reliability.md wants of each change and the tests do not show. What is timed are the processes
# that people run; what mostly waits does so beside others.
PROOF  = trap 'kill $$(jobs -p) 2>/dev/null || true' EXIT;
CHAOS  = $(TARGET)/release/chaos
ACCEPT = $(TARGET)/release/acceptance

proof: build sim properties chaos-tools ui ## Show that the promises are kept: the figures of docs/reliability.md (eight minutes)
	$(CARGO) build --release -p axon-server -p axon-launcher -p axon-benches --bin axon-server --bin axon-launcher --bin chaos --bin acceptance
	@$(PROOF) $(TARGET)/debug/hostile & hostile=$$!; $(ACCEPT) --points 15 & births=$$!; $(ACCEPT) --points 14,19,20; wait $$births; wait $$hostile
	@$(PROOF) $(CHAOS) --seconds 60 --trials r4 & processes=$$!; $(CHAOS) --seconds 60 --trials r5; wait $$processes
	$(CHAOS) --seconds 20 --trials r6,r8,r11,r15,blocked

torture: build ## Cut the power of a faulty disk at every operation, and damage every part of what lies on it (FLIP_STEP=1 CUT_SEEDS=60: all)
	AXON_FLIP_STEP=$(FLIP_STEP) AXON_POWER_CUT_SEEDS=$(CUT_SEEDS) $(CARGO) test $(PROFILE) --workspace \
		--test log_corruption --test log_power_cuts --test state -- --nocapture power_cut flipped zeroed short missing damage fail

# The tests of every parser, called `any_...`: values, commands, records, frames, messages, cursors, keys,
# queries, conditions, transactions, options, manifests, backups.
properties: ## Try every parser on random input (CASES=1000000 for a night)
	@echo "R17 properties: $(CASES) cases a target"
	PROPTEST_CASES=$(CASES) $(CARGO) test $(PROFILE) --workspace --lib -- any_

chaos: chaos-tools ## Break real processes, disks, networks and clocks under clients (SECONDS=60; ARGS="--trials r15")
	$(CARGO) build --release -p axon-server -p axon-benches --bin axon-server --bin chaos
	$(TARGET)/release/chaos --seconds $(SECONDS) $(ARGS)

# Without them `chaos` leaves out what needs them, and says so.
chaos-tools:
	@if [ "$$(id -u)" = 0 ] && { ! command -v ip || ! command -v iptables || ! command -v strace || ! ls /usr/lib/*/faketime/libfaketimeMT.so.1; } >/dev/null 2>&1; then \
		echo 'Installing iproute2, iptables, strace and libfaketime: networks are cut, disks fail and clocks move with them.'; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends iproute2 iptables strace libfaketime || true; \
	fi

acceptance: ## Try the promises on real processes (half an hour; ARGS="--points data" selects, or 3,8)
	$(CARGO) build --release -p axon-server -p axon-launcher -p axon-benches --bin axon-server --bin axon-launcher --bin acceptance
	$(TARGET)/release/acceptance $(ARGS)

# A target directory of its own: the flag, which lets a seed decide the scheduler's choices too, would
# have everything compiled anew each time.
SIM   = env RUSTFLAGS="--cfg tokio_unstable" $(CARGO) test --profile sim -p axon-core --test sim --target-dir $(TARGET)/sim

sim: ## Run simulated clusters from the seeds 1 to SEEDS (200), and 20 of them twice (SEED=17 replays one)
	$(if $(SEED),SIM_SEED=$(SEED) SIM_VERBOSE=1,SIM_SEEDS=$(SEEDS)) $(SIM) -- --nocapture nothing_is_lost
	$(if $(SEED),,SIM_TWICE=20 $(SIM) -- --nocapture replays)

mutants: ## Plant each known bug in the simulated clusters, and see after how many seeds it is found
	SIM_MUTANTS=$(SEEDS) $(SIM) -- --nocapture planted

screenshots: build ui ui-tools ## Take the pictures of the dashboard in docs/ anew
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

ui-test: ui
	cd $(UI) && npm run check && npm run lint && npm run test:unit && npm run size

ui-e2e: build ui ui-tools ## Try the dashboard in Chromium, against a real launcher and real nodes
	cd $(UI) && $(ON_DEBUG) npm run test:e2e

# Chromium, and what one test cuts a node off with; that one is left out where it is not allowed.
ui-tools:
	@sudo=; [ "$$(id -u)" = 0 ] || sudo='sudo -n'; \
	missing=(); \
	[ -x "$$CHROMIUM" ] || missing+=(chromium); \
	command -v iptables >/dev/null || [ "$$(id -u)" != 0 ] || missing+=(iptables); \
	if [ "$${#missing[@]}" != 0 ]; then \
		echo "Installing $${missing[*]}: the dashboard is tried with it."; \
		{ $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends "$${missing[@]}"; } || { \
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
