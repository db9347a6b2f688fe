package reconcile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ropeway-net/ropeway/daemon/status"
)

const calicoConf = `{"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [{"type": "calico"}, {"type": "portmap"}]}`

func TestConfigurationInFrontOfOursIsFound(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string // part of the problem, "" none
	}{
		{"nothing", nil, ""},
		{"another network", map[string]string{"10-calico.conflist": calicoConf}, `10-calico.conflist configures network "k8s-pod-network"`},
		{"the first of two", map[string]string{"10-calico.conflist": calicoConf, "05-cilium.conf": `{"name":"cilium","type":"cilium-cni"}`}, `05-cilium.conf configures network "cilium"`},
		{"behind ours", map[string]string{"20-flannel.conflist": calicoConf, "10-ropeway.conflist.bak": calicoConf}, ""},
		{"no configuration", map[string]string{"00-README": "x", "calico-kubeconfig": "x", "10-calico.conflist.disabled": calicoConf}, ""},
		{"ours by the operator", map[string]string{"05-pods.conflist": `{"name":"pods","plugins":[{"type":"ropeway"},{"type":"tuning"}]}`}, ""},
		{"multus", map[string]string{"00-multus.conf": `{"name":"multus-cni-network","type":"multus-shim"}`}, ""},
		{"broken", map[string]string{"00-broken.conf": "{"}, "00-broken.conf cannot be understood"},
		{"huge", map[string]string{"00-huge.conf": strings.Repeat(" ", mostConfBytes+1)}, "sensible size"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Conflist{Dir: t.TempDir()}
			for name, content := range tt.files {
				if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f, found := c.foreignConf()
			if tt.want == "" {
				if found {
					t.Errorf("found %v", f.problem(c.Path()))
				}
				return
			}
			if !found || !strings.Contains(f.problem(c.Path()).Error(), tt.want) || !strings.Contains(f.problem(c.Path()).Error(), "rm "+c.Dir) {
				t.Errorf("%v, want %q", f.problem(c.Path()), tt.want)
			}
		})
	}
}

func TestConfigurationDroppedInLaterIsToldOfUntilItGoes(t *testing.T) {
	b := newBench(t)
	told := &notices{}
	b.cfg.Notify = told.take
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	path := filepath.Join(b.cfg.Conflist.Dir, "00-other.conflist")
	if err := os.WriteFile(path, []byte(calicoConf), 0o600); err != nil {
		t.Fatal(err)
	}
	b.until("it is a problem", func() bool {
		p := b.loop.Status().Problems
		return len(p) == 1 && strings.Contains(p[0], path) && strings.Contains(p[0], "k8s-pod-network")
	})
	b.until("the operator knows", func() bool { return told.count(status.ForeignCNIConfig, "k8s-pod-network") == 1 })
	if !b.loop.Status().Ready {
		t.Error("the node is not ready because of it")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	b.until("the problem is gone", func() bool { return len(b.loop.Status().Problems) == 0 })
	if b.exists(path) || !b.exists(b.cfg.Conflist.Path()) {
		t.Error("a file is not as it was")
	}
}

func TestOurConfigurationComesBackWhenSomebodyRemovesIt(t *testing.T) {
	b := newBench(t)
	b.start()
	b.publish(node(1), node(2))
	b.untilHolds(node(1), node(2))
	if err := os.Remove(b.cfg.Conflist.Path()); err != nil {
		t.Fatal(err)
	}
	b.until("it is back", func() bool { return b.exists(b.cfg.Conflist.Path()) })
}

func FuzzForeignConf(f *testing.F) {
	f.Add([]byte(calicoConf))
	f.Add([]byte(`{"plugins": null, "type": 3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, types, err := parseConf(b); err != nil && types != nil {
			t.Error("types of what cannot be read")
		}
	})
}
