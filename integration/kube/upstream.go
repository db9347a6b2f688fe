package kube

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kubernetesVersion is the release that upstream/kubernetes pins.
const kubernetesVersion = "v1.37.2"

// recipe says how programs of one upstream module are built.
type recipe struct {
	module   string // directory, relative to upstream
	cgo      bool
	tags     string
	ldflags  string
	packages []string
}

func recipes() []recipe {
	return []recipe{
		{module: "etcd", packages: []string{"go.etcd.io/etcd/server/v3"}},
		{module: "containerd", packages: []string{
			"github.com/containerd/containerd/v2/cmd/containerd",
			"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
			"github.com/containerd/containerd/v2/cmd/ctr",
		}},
		{module: "runc", cgo: true, tags: "seccomp", packages: []string{"github.com/opencontainers/runc"}},
		{module: "coredns", packages: []string{"github.com/coredns/coredns"}},
		{module: "../../bench/reference", packages: []string{
			"github.com/containernetworking/plugins/plugins/ipam/host-local",
			"github.com/containernetworking/plugins/plugins/main/loopback",
			"github.com/containernetworking/plugins/plugins/main/ptp",
			"github.com/containernetworking/plugins/plugins/meta/portmap",
		}},
		{module: "kubernetes", ldflags: kubernetesFlags(), packages: []string{
			"k8s.io/kubernetes/cmd/kube-apiserver",
			"k8s.io/kubernetes/cmd/kube-controller-manager",
			"k8s.io/kubernetes/cmd/kube-proxy",
			"k8s.io/kubernetes/cmd/kube-scheduler",
			"k8s.io/kubernetes/cmd/kubectl",
			"k8s.io/kubernetes/cmd/kubelet",
			"k8s.io/kubernetes/test/images/agnhost",
			"k8s.io/kubernetes/test/images/regression-issue-74839",
		}},
	}
}

// Build compiles whatever of Kubernetes and its company is not built yet into
// dir/bin, with progress on log. The first time takes many minutes; afterwards
// Go's build cache and the finished programs make it seconds. root is the
// project's directory.
func Build(ctx context.Context, root, dir string, log io.Writer) error {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for _, r := range recipes() {
		fmt.Fprintf(log, "build %s\n", filepath.Base(r.module))
		for _, pkg := range r.packages {
			args := []string{"build", "-o", filepath.Join(bin, programName(pkg))}
			if err := r.run(ctx, root, append(args, r.flags()...), pkg); err != nil {
				return err
			}
		}
	}
	return nil
}

// BuildE2E compiles Kubernetes' own end-to-end tests and what runs them into
// dir/bin/e2e.test and dir/bin/ginkgo.
func BuildE2E(ctx context.Context, root, dir string, log io.Writer) error {
	fmt.Fprintln(log, "build e2e.test")
	r := recipe{module: "kubernetes", ldflags: kubernetesFlags()}
	tests := append([]string{"test", "-c", "-o", filepath.Join(dir, "bin", "e2e.test")}, r.flags()...)
	if err := r.run(ctx, root, tests, "k8s.io/kubernetes/test/e2e"); err != nil {
		return err
	}
	runner := append([]string{"build", "-o", filepath.Join(dir, "bin", "ginkgo")}, r.flags()...)
	return r.run(ctx, root, runner, "github.com/onsi/ginkgo/v2/ginkgo")
}

// kubernetesFlags tell the programs their version.
func kubernetesFlags() string {
	return "-X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
		" -X k8s.io/client-go/pkg/version.gitVersion=" + kubernetesVersion
}

// programName is the package's last element, without a major version.
func programName(pkg string) string {
	if pkg == "go.etcd.io/etcd/server/v3" {
		return "etcd"
	}
	return filepath.Base(pkg)
}

func (r recipe) flags() []string {
	flags := []string{"-trimpath", "-buildvcs=false", "-ldflags", strings.TrimSpace("-s -w " + r.ldflags)}
	if r.tags != "" {
		flags = append(flags, "-tags", r.tags)
	}
	return flags
}

func (r recipe) run(ctx context.Context, root string, args []string, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = filepath.Join(root, "integration", "kube", "upstream", r.module)
	cgo := "CGO_ENABLED=0"
	if r.cgo {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(os.Environ(), cgo, "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
