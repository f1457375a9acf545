# Outrigger. `make` alone lists the targets.
#
# Everything runs from the root of a checkout, whose path may hold spaces: no
# path is made absolute here.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/outrigger-mesh/outrigger/internal/version.version=$(VERSION)
GOBUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
PROGRAMS := $(foreach p,sidecar controlplane cmdb-sync,$(if $(wildcard $(p)/main.go),$(p)))

# What a run of the tests may take; the whole is meant to stay under 10 minutes.
TEST_TIMEOUT ?= 10m
FUZZTIME ?= 30s
BENCHTIME ?= 1s
PKG ?= ./...
# make demo ONCE=1 checks itself and exits; KEEP=1 keeps the folder with its files.
ONCE ?=
KEEP ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## build bin/sidecar, bin/controlplane, bin/cmdb-sync
	@mkdir -p bin
	@for p in $(PROGRAMS); do echo "go build -o bin/$$p ./$$p"; $(GOBUILD) -o "bin/$$p" "./$$p"; done

.PHONY: demo
demo: build ## the whole mesh on this machine (ONCE=1: check itself and exit; KEEP=1: keep its files)
	@$(GOBUILD) -o bin/quickstart ./examples/quickstart
	@exec bin/quickstart $(if $(filter-out 0 no false,$(ONCE)),-once) $(if $(filter-out 0 no false,$(KEEP)),-keep)

.PHONY: test
test: ## vet, and every test with real servers and the race detector
	@bash internal/testenv/install.sh
	$(GO) vet ./...
	$(GO) test -race -timeout $(TEST_TIMEOUT) ./...
	$(GO) test -run Alloc ./internal/balance/... ./middleware/... ./sidecar/internal/...

.PHONY: check
check: tools check-format check-tidy check-lint check-imports check-generated ## formatting, linters, import rules, generated files

.PHONY: check-format
check-format: tools
	@unformatted="$$(git ls-files -co --exclude-standard -- '*.go' | grep -v '\.pb\.go$$' | tr '\n' '\0' | xargs -0 -r .tools/gofumpt -l)"; \
	if [ -n "$$unformatted" ]; then echo "not formatted (run: .tools/gofumpt -w FILE):"; echo "$$unformatted"; exit 1; fi
	@echo "gofumpt: clean"

.PHONY: check-tidy
check-tidy:
	$(GO) mod tidy -diff

.PHONY: check-lint
check-lint: tools
	$(GO) vet ./...
	.tools/golangci-lint run ./...

.PHONY: check-imports
check-imports:
	$(GO) test ./internal/imports

# Generates into a folder of its own and compares, so that work in progress is
# neither lost nor taken for a difference.
.PHONY: check-generated
check-generated: tools
	@tmp="$$(mktemp -d)"; trap 'rm -rf "$$tmp"' EXIT; \
	$(MAKE) generate OUT="$$tmp"; \
	for f in $(GENERATED); do \
		diff -u "$$f" "$$tmp/$$f" || { echo "$$f is not what make generate makes"; exit 1; }; \
	done; \
	echo "generated files: up to date"

PROTOS := internal/registration/v1/registration.proto
GENERATED := $(PROTOS:.proto=.pb.go) $(PROTOS:.proto=_grpc.pb.go)
OUT ?= .

.PHONY: generate
generate: tools ## generate code from the .proto files
	@command -v protoc >/dev/null || { echo "protoc is missing: apt-get install protobuf-compiler" >&2; exit 1; }
	@case "$$(protoc --version)" in "libprotoc 3.21.12") ;; \
	*) echo "protoc is $$(protoc --version): version 3.21.12 (Debian 12) makes the files as they are kept" >&2; exit 1;; esac
	PATH="$$PWD/.tools:$$PATH" protoc -I . \
		--go_out="$(OUT)" --go_opt=paths=source_relative \
		--go-grpc_out="$(OUT)" --go-grpc_opt=paths=source_relative $(PROTOS)

# One hop through the sidecar beside nginx, HAProxy and others: see bench/README.md.
# BENCHFLAGS='-rounds 3 -only sidecar' and the like.
BENCHFLAGS ?=

.PHONY: bench
bench: build ## the sidecar beside nginx, HAProxy, Caddy and others (installs them)
	@bash bench/install.sh
	$(GO) run ./bench hop -binary bin/sidecar $(BENCHFLAGS)

.PHONY: benchmarks
benchmarks: ## Go benchmarks with allocations (PKG=./internal/conf BENCHTIME=1s)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(PKG)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME=30s
	@git ls-files -co --exclude-standard -- '*_test.go' | tr '\n' '\0' \
	| xargs -0 -r grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sort -u \
	| while IFS=: read -r file func; do \
		target="$${func#func }"; dir="./$$(dirname "$$file")"; \
		echo "fuzz $$dir $$target for $(FUZZTIME)"; \
		$(GO) test "$$dir" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s </dev/null; \
	done

.PHONY: soak
soak: ## the tests that take long (build tag soak)
	$(GO) test -race -tags soak -run Soak -timeout 2h $(PKG)

# The tools' versions are those of internal/tools/go.mod.
.PHONY: tools
tools: .tools/.built

.tools/.built: internal/tools/go.mod internal/tools/go.sum
	@mkdir -p .tools
	@echo "building the tools of internal/tools (minutes the first time)"
	@cd internal/tools && CGO_ENABLED=0 $(GO) build -o ../../.tools/ tool
	@touch $@

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .tools
