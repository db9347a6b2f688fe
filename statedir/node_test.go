package statedir

import (
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestNodeThatIsWrittenIsReadBack(t *testing.T) {
	d := Dir(t.TempDir())
	if _, err := d.ReadNode(); !errors.Is(err, ErrNoNode) || !strings.Contains(err.Error(), d.NodeFile()) {
		t.Errorf("error %v, want ErrNoNode with the path", err)
	}
	want := Node{
		BootID: "boot", Name: "n1", Mode: "vxlan", MTU: 1450,
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd01::/64")},
		Sources:  []netip.Addr{netip.MustParseAddr("10.1.0.1")},
	}
	for i := range reflect.TypeFor[Node]().NumField() {
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Errorf("%s is missing in the node of this test", reflect.TypeFor[Node]().Field(i).Name)
		}
	}
	if err := d.WriteNode(want); err != nil {
		t.Fatal(err)
	}
	got, err := d.ReadNode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
}

func TestNodeFileOfAnotherBootDoesNotCount(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.WriteNode(Node{BootID: "boot", MTU: 1450, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadNodeOf("boot"); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadNodeOf("next"); !errors.Is(err, ErrNoNode) || !strings.Contains(err.Error(), d.NodeFile()) {
		t.Errorf("error %v, want ErrNoNode with the path", err)
	}
}

func TestBadNodeFileIsRefusedWithARemedy(t *testing.T) {
	for name, content := range map[string]string{
		"torn":            `{"bootID":"b","podCI`,
		"empty":           ``,
		"no boot":         `{"podCIDRs":["10.1.0.0/24"],"mtu":1450}`,
		"no pod CIDR":     `{"bootID":"b","podCIDRs":[],"mtu":1450}`,
		"host bits":       `{"bootID":"b","podCIDRs":["10.1.0.1/24"],"mtu":1450}`,
		"two of a family": `{"bootID":"b","podCIDRs":["10.1.0.0/24","10.2.0.0/24"],"mtu":1450}`,
		"mapped":          `{"bootID":"b","podCIDRs":["::ffff:10.1.0.0/120"],"mtu":1450}`,
		"no MTU":          `{"bootID":"b","podCIDRs":["10.1.0.0/24"]}`,
		"mapped source":   `{"bootID":"b","podCIDRs":["10.1.0.0/24"],"mtu":1450,"sources":["::ffff:10.1.0.1"]}`,
		"zoned source":    `{"bootID":"b","podCIDRs":["10.1.0.0/24"],"mtu":1450,"sources":["fe80::1%eth0"]}`,
		"more behind it":  `{"bootID":"b","podCIDRs":["10.1.0.0/24"],"mtu":1450}{}`,
		"empty source":    `{"bootID":"b","podCIDRs":["10.1.0.0/24"],"mtu":1450,"sources":[""]}`,
	} {
		t.Run(name, func(t *testing.T) {
			d := Dir(t.TempDir())
			if err := os.WriteFile(d.NodeFile(), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := d.ReadNode()
			if err == nil || !strings.Contains(err.Error(), d.NodeFile()) || !strings.Contains(err.Error(), "ropewayd") {
				t.Errorf("error %v, want it to name the file and the remedy", err)
			}
		})
	}
}

func FuzzParseNode(f *testing.F) {
	f.Add([]byte(`{"bootID":"b","name":"n1","mode":"vxlan","podCIDRs":["10.1.0.0/24","fd01::/64"],"mtu":1450,"sources":["10.1.0.1"]}`))
	f.Add([]byte(`{"bootID":"b","podCIDRs":["::ffff:10.1.0.0/120"],"mtu":1450}`))
	f.Add([]byte(`{"bootID":"b","podCIDRs":["10.1.0.0/33"],"mtu":-1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseNode(b)
		if err != nil {
			return
		}
		if n.BootID == "" || n.MTU < 576 || len(n.PodCIDRs) == 0 || len(n.PodCIDRs) > 2 {
			t.Errorf("accepted %+v", n)
		}
		for _, p := range n.PodCIDRs {
			if p != p.Masked() || p.Addr().Is4In6() {
				t.Errorf("accepted pod CIDR %s", p)
			}
		}
		for _, a := range n.Sources {
			if !a.IsValid() || a.Is4In6() {
				t.Errorf("accepted source %q", a)
			}
		}
	})
}
