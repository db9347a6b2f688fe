package topology

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/kernel"
)

func foreign(family kernel.TableFamily, table, chain string) kernel.ForeignChain {
	return kernel.ForeignChain{Family: family, Table: table, Chain: chain}
}

// admitted lists the rules that the state wants in others' chains.
func admitted(s kernel.State) string {
	var b strings.Builder
	for line := range strings.Lines(s.String()) {
		if strings.Contains(line, "nft add rule") || strings.Contains(line, "nft insert rule") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestPodsAreAdmittedWhereOtherFirewallsDrop(t *testing.T) {
	in := fixture(VXLAN, only4, dual)
	in.Firewalls = []kernel.Firewall{
		{Chain: foreign(kernel.FamilyInet, "firewalld", "filter_FORWARD"), Hook: kernel.Forward, Before: 12},
		{Chain: foreign(kernel.FamilyIPv4, "filter", "FORWARD"), Hook: kernel.Forward, Program: "docker"},
	}
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	want := `nft insert rule inet firewalld filter_FORWARD handle 12 iifname "rwp*" counter accept
nft insert rule inet firewalld filter_FORWARD handle 12 oifname "rwp*" counter accept
nft add rule ip filter FORWARD iifname "rwp*" counter accept
nft add rule ip filter FORWARD oifname "rwp*" counter accept
`
	if d := cmp.Diff(want, admitted(r.State)); d != "" {
		t.Errorf("rules (-want +got):\n%s", d)
	}
	if len(r.Problems) != 0 || len(r.Obstacles) != 2 || !r.Obstacles[0].Overcome || !strings.Contains(r.Obstacles[1].Message, "ip filter FORWARD of docker") {
		t.Errorf("problems %v, obstacles %+v", r.Problems, r.Obstacles)
	}
}

func TestFirewallOfAFamilyWithoutPodsIsLeftAlone(t *testing.T) {
	in := fixture(VXLAN, only4, only4)
	in.Firewalls = []kernel.Firewall{{Chain: foreign(kernel.FamilyIPv6, "filter", "FORWARD"), Hook: kernel.Forward}}
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	if admitted(r.State) != "" || len(r.Obstacles) != 0 {
		t.Errorf("rules %s, obstacles %+v", admitted(r.State), r.Obstacles)
	}
}

func TestFirewallThatCannotBeChangedIsAProblemWithItsRemedy(t *testing.T) {
	for _, tt := range []struct {
		name     string
		mode     Mode
		firewall kernel.Firewall
		want     string // "" no problem
	}{
		{"legacy", Direct, kernel.Firewall{Chain: foreign(kernel.FamilyIPv4, "filter", "FORWARD"), Hook: kernel.Forward, Legacy: true},
			"iptables-legacy -A FORWARD -i rwp+ -j ACCEPT; iptables-legacy -A FORWARD -o rwp+ -j ACCEPT"},
		{"owned", Direct, kernel.Firewall{Chain: foreign(kernel.FamilyInet, "firewalld", "filter_FORWARD"), Hook: kernel.Forward, Owned: true, Program: "firewalld"},
			"NftablesTableOwner=no"},
		{"input of ufw", VXLAN, kernel.Firewall{Chain: foreign(kernel.FamilyIPv4, "filter", "INPUT"), Hook: kernel.Input, Program: "ufw"},
			"ufw allow 4789/udp"},
		{"input of firewalld", IPIP, kernel.Firewall{Chain: foreign(kernel.FamilyInet, "firewalld", "filter_INPUT"), Hook: kernel.Input, Program: "firewalld"},
			"firewall-cmd --permanent --add-protocol=4"},
		{"input that lets tunnels in", VXLAN, kernel.Firewall{Chain: foreign(kernel.FamilyIPv4, "filter", "INPUT"), Hook: kernel.Input, Passes: []kernel.Pass{{Protocol: 17, First: 4789, Last: 4789}}}, ""},
		{"input that may let anything in", VXLAN, kernel.Firewall{Chain: foreign(kernel.FamilyIPv4, "filter", "INPUT"), Hook: kernel.Input, Passes: []kernel.Pass{{}}}, ""},
		{"input of the family without tunnels", VXLAN, kernel.Firewall{Chain: foreign(kernel.FamilyIPv6, "filter", "INPUT"), Hook: kernel.Input}, ""},
		{"input without tunnels", Direct, kernel.Firewall{Chain: foreign(kernel.FamilyIPv4, "filter", "INPUT"), Hook: kernel.Input}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := fixture(tt.mode, only4, only4)
			before, err := Compute(in)
			if err != nil {
				t.Fatal(err)
			}
			in.Firewalls = []kernel.Firewall{tt.firewall}
			r, err := Compute(in)
			if err != nil {
				t.Fatal(err)
			}
			if admitted(r.State) != "" {
				t.Errorf("rules:\n%s", admitted(r.State))
			}
			problems := r.Problems[len(before.Problems):]
			if tt.want == "" {
				if len(problems) != 0 || len(r.Obstacles) != 0 {
					t.Errorf("problems %v", problems)
				}
				return
			}
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), tt.want) || len(r.Obstacles) != 1 || r.Obstacles[0].Overcome {
				t.Errorf("problems %v, want one that says %q", problems, tt.want)
			}
		})
	}
}
