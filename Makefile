# Ropeway's tasks. Bare `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO        ?= go
BIN       := $(CURDIR)/bin
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOTESTSUM := $(GO) run gotest.tools/gotestsum@v1.13.0
LINTER    := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# The names under which Debian and Ubuntu package what the tests call.
PACKAGES := iproute2 nftables iptables ethtool procps iputils-ping qemu-system-x86 busybox-static kmod

COMMA     := ,

export CGO_ENABLED := 0

.PHONY: help build image manifests deps test demo bench lint fmt clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the plugins, the daemon and ropewayctl into bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN)/ ./plugins/ropeway ./plugins/ropeway-ipam ./plugins/loopback ./daemon/ropewayd ./ropewayctl

# The archive names the image by version, and as the manifests of this tree do.
image: ## build the container image for amd64 and arm64 (ARCH=amd64: one) into build/image/
	$(GO) run ./manifests/image -version $(VERSION) -tags "$$(awk '$$1 == "newTag:" {print $$2}' manifests/base/kustomization.yaml)" -arch "$(or $(ARCH),amd64$(COMMA)arm64)"

manifests: ## render manifests/ropeway*.yaml from their kustomize sources
	cd manifests/render && $(GO) run .

deps: ## install what the tests call (Debian packages), if anything is missing
	@integration/packages.sh $(PACKAGES)

demo: deps build ## three nodes, six pods, five modes: watch them talk (root)
	$(GO) run ./integration/demo -bin $(BIN)

test: deps build ## unit, property, fuzz-seed and lab tests, here and in a Debian kernel (root)
	@failed=0; \
	(cd manifests/render && $(GOTESTSUM) --format pkgname -- ./...) || failed=1; \
	CGO_ENABLED=1 ROPEWAY_BIN=$(BIN) $(GOTESTSUM) --format pkgname --format-hide-empty-pkg -- -race -timeout 20m ./... || failed=1; \
	exit $$failed

bench: deps build ## pod start and stop against the reference plugins, in one run (root)
	$(GO) run ./integration/bench

lint: ## golangci-lint with the rules of .golangci.yaml
	$(LINTER) run ./...

fmt: ## gofmt
	gofmt -w $$(git ls-files '*.go')

clean: ## remove bin/ and build/
	rm -rf $(BIN) $(CURDIR)/build
