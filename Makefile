# `make` alone lists what there is.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tools stand in a module of their own: their dependencies are not the gateway's.
TOOL     := go tool -modfile=tools/go.mod
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The contract as last released; buf compares against it.
CONTRACT := proto/contract.binpb
# How long each fuzz test runs.
FUZZTIME ?= 20s
# How long each benchmark runs: a time, or a number of rounds such as 20000x.
BENCHTIME ?= 1s
# Go flags for `make test`, such as TESTFLAGS='-run TestX -v'.
TESTFLAGS ?=
# Package patterns for `make test`.
PACKAGES ?= ./...

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## watch a promotion and rollbacks on real models; needs Go alone
	@go run ./cmd/understudy demo

.PHONY: build
build: ## the static binary, bin/understudy
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.linked=$(VERSION)" -o bin/understudy ./cmd/understudy

# What skips for want of a Kafka leaves a line in a file. Its name is new each time, so
# that no cached result hides a skip.
.PHONY: test
test: ## all tests under the race detector; with Java and Maven also against a real Kafka
	@mkdir -p build; skips=$$PWD/build/skips.$$$$; trap 'rm -f "$$skips"' EXIT; status=0; \
	UNDERSTUDY_SKIPS=$$skips go test -race -timeout 10m $(TESTFLAGS) $(PACKAGES) || status=$$?; \
	if [ -s "$$skips" ]; then \
		printf '\n************************************************************\n'; \
		printf 'REAL KAFKA TESTS SKIPPED: %s, for want of a broker.\n' "$$(wc -l < "$$skips")"; \
		sort "$$skips" | sed 's/^/  /'; \
		printf '************************************************************\n'; \
	fi; exit $$status

.PHONY: interop
interop: build/venv/installed ## real clients (tritonclient, kcat, grpcurl, curl) against a whole gateway
	@command -v kcat >/dev/null || { echo "make interop needs kcat: apt install kcat" >&2; exit 1; }
	@$(TOOL) grpcurl -version
	UNDERSTUDY_REQUIRE_KAFKA=1 INTEROP_PYTHON=$$PWD/build/venv/bin/python go test -tags interop -count=1 -timeout 5m -v ./interop

build/venv/installed: interop/requirements.txt
	python3 -m venv --clear build/venv
	build/venv/bin/python -m pip install --quiet --disable-pip-version-check -r interop/requirements.txt
	touch $@

.PHONY: report-check
report-check: build/kit/installed ## understudy report against an independent count in Python, on 240,000 records in a real Kafka
	build/kit/bin/python -m grpc_tools.protoc -I proto --python_out=examples/consumer-python inference/inference.proto understudy/record/v1/record.proto
	UNDERSTUDY_REQUIRE_KAFKA=1 KIT_PYTHON=$$PWD/build/kit/bin/python go test -tags interop -count=1 -timeout 20m -v -run TestReportAgainstPython ./interop

build/kit/installed: examples/consumer-python/requirements.txt
	python3 -m venv --clear build/kit
	build/kit/bin/python -m pip install --quiet --disable-pip-version-check -r examples/consumer-python/requirements.txt
	touch $@

.PHONY: faults
faults: ## break things around a gateway and measure what it promises: GROUP=sink, QUICK=1; needs Java, Maven and, to mount small disks, root
	@go run ./faults

.PHONY: sim
sim: ## measure what the gates promise on simulated rollouts, and write docs/decisions.md; QUICK=1 measures only
	@go run ./sim

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME (20s)
	@for package in $$(go list ./...); do \
		for name in $$(go test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "$$package $$name"; \
			go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done

.PHONY: bench
bench: ## what a request costs, beside nginx, HAProxy, Envoy and a grpc-go proxy, and write docs/performance.md; QUICK=1 measures only; Linux
	@go run ./bench

.PHONY: microbench
microbench: ## what a record costs: append to the spool, and CPU from the gateway to a real Kafka; what evidence costs a request, and a record a report; what a comparison costs
	go test -run '^$$' -bench Evidence -benchtime $(BENCHTIME) ./canary
	go test -run '^$$' -bench Infer -benchtime $(BENCHTIME) ./gateway
	go test -run '^$$' -bench Compare -benchtime $(BENCHTIME) ./shadow
	go test -run '^$$' -bench Record -benchtime $(BENCHTIME) ./report
	go test -run '^$$' -bench . -benchtime $(BENCHTIME) ./spool
	UNDERSTUDY_REQUIRE_KAFKA=1 go test -run '^$$' -bench 'Encode|CPUPerRecord' -benchtime $(BENCHTIME) ./sink

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, buf lint, buf breaking
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi >&2
	go vet ./...
	go vet -tags interop ./interop
	$(TOOL) staticcheck ./...
	$(TOOL) staticcheck -tags interop ./interop
	$(TOOL) buf lint
	$(TOOL) buf breaking --against $(CONTRACT)

.PHONY: generate
generate: ## stubs from the .proto files, and the record's documentation
	$(TOOL) buf generate
	go run ./recorddoc

.PHONY: check-generate
check-generate: ## fail where the checked-in stubs are not what generate makes
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(TOOL) buf generate -o "$$fresh"; \
	diff -r <(cd "$$fresh/proto" && find . -name '*.go' | sort | xargs sha256sum) \
		<(cd proto && find . -name '*.go' | sort | xargs sha256sum) \
	|| { echo "stubs differ from the .proto files: run make generate" >&2; exit 1; }

.PHONY: contract
contract: ## make today's .proto files the contract that breaking changes are measured by
	$(TOOL) buf build -o $(CONTRACT)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build
