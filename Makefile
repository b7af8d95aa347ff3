# Guideway. `make demo` shows it, `make test` proves it. Both install what is missing on Debian.

CARGO ?= cargo
TOOLS := $(CURDIR)/target/tools
DENY := $(TOOLS)/bin/cargo-deny
DEB := $(TOOLS)/bin/cargo-deb
# Variables of `make demo`: KEEP=1 leaves the demo running.
KEEP ?=
# Variables of `make test`: TEST=word runs the tests with that in their name, for example nat::
TEST ?=
# Options of `make e2e-kubernetes`: E2E="--rolling" (docs/kubernetes-tests.md).
E2E ?=
# Options of `make bench` and `make bench-short`: BENCH="--rounds 5 --only packets,tcp".
BENCH ?=
# Variables of `make fuzz`: which target, and for how many seconds.
TARGET ?=
TIME ?= 60
# Variables of `make soak`: where to begin, and for how many seconds.
SEED ?=
# The namespaced tests load both cores by themselves.
export RUST_TEST_THREADS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup build package demo demo-kubernetes test e2e-kubernetes lint bench bench-short bench-engine bench-engine-short bench-pure bench-health bench-kubernetes bench-kubernetes-short instructions instructions-accept fuzz fuzz-all soak fmt deny clean-namespaces

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install missing Debian packages; says what and why, does nothing when all are there
	@scripts/setup

build: ## build the release binary and the test peer
	@scripts/setup build
	$(CARGO) build --locked --release --bin guideway --example testpeer

package: $(DEB) ## build the Debian package: target/package/guideway_VERSION_ARCH.deb
	@scripts/setup build package
	$(CARGO) build --locked --release --bin guideway
	@CARGO="$(CARGO)" scripts/package

demo: build ## show the main job on real traffic in namespaces (KEEP=1 leaves it running; root)
	@scripts/setup test
	@KEEP=$(KEEP) demo/run

demo-kubernetes: ## the same in front of a real Kubernetes cluster (KEEP=1 leaves it running; root)
	@scripts/setup build test kubernetes
	$(CARGO) build --locked --release --bin guideway
	@scripts/kubernetes-programs core >/dev/null
	@KEEP=$(KEEP) demo/kubernetes

test: $(DEB) ## run all tests, those with root and namespaces too (TEST=word: those with it in their name)
	@scripts/setup build test kubernetes
	@CARGO="$(CARGO)" scripts/run-tests $(TEST)

e2e-kubernetes: ## upstream tests of Kubernetes for load balancers against a cluster (E2E=... options; root)
	@scripts/setup test kubernetes
	@scripts/kubernetes-e2e $(E2E)

# CI has the rules of the architecture among its tests.
lint: ## fmt, clippy on each feature set, docs, architecture, dependencies
	@scripts/setup build lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	$(if $(CI),,$(CARGO) test --locked --no-default-features --test architecture)
	for script in scripts/* demo/* benches/*.sh tests/kubernetes/*.sh .ci/run; do bash -n $$script || exit 1; done
	@$(MAKE) --no-print-directory deny

deny: $(DENY) ## check licences, bans and sources of dependencies
	$(DENY) --log-level error check licenses bans sources

# Unoptimised it builds in a third of the time and still checks in seconds.
$(DENY):
	$(CARGO) install cargo-deny --locked --debug --version '^0.20' --root $(TOOLS) \
		--target-dir $(TOOLS)/build
	rm -rf $(TOOLS)/build

# Xz is a command of the machine's, so that no library of it has to be built.
$(DEB):
	$(CARGO) install cargo-deb --locked --debug --version '^3.8' --no-default-features --root $(TOOLS) \
		--target-dir $(TOOLS)/build
	rm -rf $(TOOLS)/build

bench-engine: ## nanoseconds a packet in the engine alone, for this CPU; writes target/bench/engine.csv
	@scripts/setup build
	CARGO_TARGET_DIR=target/native RUSTFLAGS="-C target-cpu=native" CARGO_PROFILE_BENCH_LTO=fat \
		CARGO_PROFILE_BENCH_CODEGEN_UNITS=1 \
		$(CARGO) bench --locked --no-default-features --bench engine

bench-engine-short: ## the same with fewer rows and flows, not for this CPU alone; what CI keeps a table of
	@scripts/setup build
	CARGO_TARGET_DIR=target/instructions RUSTFLAGS="-C target-cpu=x86-64-v3" \
		$(CARGO) bench --locked --manifest-path benches/instructions/Cargo.toml --bench engine \
		-- --short

bench: ## AF_XDP on veth beside a bare forwarder, nft, haproxy, nginx (12 minutes; root; BENCH=... options)
	@scripts/setup build test bench
	$(CARGO) bench --locked --bench veth -- $(BENCH)

# Without link-time optimisation, whose three links take longer than all the rest.
bench-short: ## the same with fewer rows, under 90 seconds
	@scripts/setup build test bench
	CARGO_PROFILE_BENCH_LTO=off CARGO_PROFILE_BENCH_DEBUG=false $(CARGO) bench --locked --bench veth -- --short $(BENCH)

bench-pure: ## tables and snapshots in memory: no root, no network
	@scripts/setup build
	$(CARGO) bench --locked --no-default-features --bench maglev --bench compile -- --quick

bench-health: ## CPU of a TCP health check beside a bare epoll loop (90 seconds; loopback only)
	@scripts/setup build
	$(CARGO) bench --locked --bench health

bench-kubernetes: ## 5,000 Services of a real API server (8 minutes; root)
	@scripts/setup build test kubernetes
	@scripts/kubernetes-programs core >/dev/null
	$(CARGO) bench --locked --bench kubernetes

bench-kubernetes-short: ## the same with 500 Services
	@scripts/setup build test kubernetes
	@scripts/kubernetes-programs core >/dev/null
	CARGO_PROFILE_BENCH_LTO=off CARGO_PROFILE_BENCH_DEBUG=false $(CARGO) bench --locked --bench kubernetes -- --short

instructions: ## instructions a packet beside the baseline, counted by valgrind; fails above +3 %
	@scripts/setup build count
	@CARGO="$(CARGO)" scripts/instructions

instructions-accept: ## the same, and what was counted becomes the baseline
	@scripts/setup build count
	@CARGO="$(CARGO)" scripts/instructions --accept

fuzz: ## fuzz the library (TARGET=parse TIME=60); without TARGET, a list of the targets
	@$(if $(TARGET),scripts/setup build fuzz)
	@CARGO="$(CARGO)" scripts/fuzz $(if $(TARGET),$(TARGET) $(TIME))

fuzz-all: ## all fuzz targets for half a minute each, two at a time
	@scripts/setup build fuzz
	@CARGO="$(CARGO)" scripts/fuzz --all 30

soak: ## run the simulation on seed after seed until stopped (SEED=17 TIME=3600)
	@scripts/setup build
	@CARGO="$(CARGO)" scripts/soak "$(SEED)" $(if $(filter command% environment%,$(origin TIME)),$(TIME))

fmt: ## format the code
	$(CARGO) fmt

clean-namespaces: ## remove namespaces and links that a killed demo or test left behind
	@scripts/clean-namespaces
