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
PACKAGES := iproute2 nftables iptables ethtool ipvsadm procps iputils-ping strace qemu-system-x86 busybox-static kmod e2fsprogs

COMMA     := ,

export CGO_ENABLED := 0

.PHONY: help build image manifests deps test demo kill-points power-cuts bench bench-quick kube-build kube-up kube-down kube-shell kube-test kube-bench conformance cni-conformance lint fmt clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
	(cd manifests/render && $(GOTESTSUM) --format pkgname -- -count 1 ./...) || failed=1; \
	CGO_ENABLED=1 ROPEWAY_BIN=$(BIN) $(GOTESTSUM) --format pkgname --format-hide-empty-pkg -- -race -timeout 40m ./... || failed=1; \
	exit $$failed

kill-points: deps build ## kill ADD and DEL at every system call, and recover in every way (root, an hour)
	CGO_ENABLED=1 ROPEWAY_BIN=$(BIN) ROPEWAY_CRASH=every $(GOTESTSUM) --format standard-verbose -- -count 1 -timeout 3h -run 'Killed' ./integration/crash

power-cuts: deps build ## cut the power at every write of a disk, on each file system, and of a machine (root, an hour)
	@integration/packages.sh e2fsprogs xfsprogs btrfs-progs
	CGO_ENABLED=1 ROPEWAY_BIN=$(BIN) ROPEWAY_CRASH=every $(GOTESTSUM) --format standard-verbose -- -count 1 -timeout 3h -run 'PowerCut' ./integration/crash

bench: deps ## pod start and stop against the reference plugins (8 minutes on a quiet machine) (root)
	$(GO) run ./integration/bench -page docs/benchmarks.md

bench-quick: deps ## the same cases in fewer rounds (2 minutes) (root)
	$(GO) run ./integration/bench -quick

KUBE := $(GO) run ./integration/kube/cmd/kube

kube-build: deps build ## build Kubernetes, containerd and images for the targets below (20 minutes the first time)
	@integration/packages.sh $$($(KUBE) packages)
	$(KUBE) build

kube-up: kube-build ## a real Kubernetes here, its nodes being namespaces, with Ropeway (MODE=, PROXY=) (root)
	$(KUBE) up --mode "$(MODE)" --proxy "$(PROXY)"

kube-shell: ## a shell with kubectl beside that Kubernetes
	@$(KUBE) shell

kube-down: ## end that Kubernetes without a trace
	$(KUBE) down

kube-test: kube-build ## what must hold in a real Kubernetes: restarts, outages, bad input (root)
	$(GOTESTSUM) --format standard-verbose -- -tags kube -count 1 -timeout 40m ./integration/kube/...

kube-bench: kube-build ## many pods at once against the reference plugins, in one run (root)
	$(KUBE) bench

conformance: kube-build ## Kubernetes' own network tests in all modes (MODE=, PROXY=, SPECS=: one) (root)
	$(KUBE) build --e2e
	$(KUBE) conformance --mode "$(MODE)" --proxy "$(PROXY)" --specs "$(SPECS)"

CNI := $(CURDIR)/build/cni-conformance

cni-conformance: deps build ## any CNI plugin against the CNI specification: ours and the reference (root; SPEC=, CASES=: some)
	@mkdir -p $(CNI)/bin && cp $(BIN)/ropeway $(BIN)/ropeway-ipam $(CNI)/bin/
	cd integration/bench/reference && $(GO) build -trimpath -o $(CNI)/bin/ $(addprefix github.com/containernetworking/plugins/plugins/,main/ptp main/bridge ipam/host-local meta/portmap)
	$(GO) build -o $(CNI)/cni-conformance ./integration/cni-conformance
	$(CNI)/cni-conformance -bin $(CNI)/bin -out $(CNI) -jobs 8 -spec "$(SPEC)" -case "$(CASES)" $(if $(SPEC)$(CASES),,-page docs/cni-conformance.md -preface integration/cni-conformance/subjects/preface.md) -must-pass ropeway,ropeway-ipam \
		$(addprefix integration/cni-conformance/subjects/,ropeway.conflist ropeway-ipam.conflist ptp.conflist bridge.conflist host-local.conflist) portmap:portmap=integration/cni-conformance/subjects/portmap.conflist

lint: ## golangci-lint with the rules of .golangci.yaml
	$(LINTER) run --allow-parallel-runners ./...

fmt: ## gofmt
	gofmt -w $$(git ls-files '*.go')

clean: ## remove bin/ and build/
	rm -rf $(BIN) $(CURDIR)/build
