package kernel

import (
	"strings"
	"testing"
)

func TestLegacyFirewallIsSeenOnlyWhereThereIsOne(t *testing.T) {
	needsProgram(t, "iptables-legacy", "ip6tables-legacy")
	s := newSpace(t)
	if f := s.firewalls(); len(f) != 0 {
		t.Errorf("found %+v", f)
	}
	if names := s.sh("cat /proc/thread-self/net/ip_tables_names /proc/thread-self/net/ip6_tables_names 2>/dev/null || true"); names != "" {
		t.Errorf("looking made tables: %s", names)
	}
	for _, tt := range []struct {
		change string
		want   string // families that drop
	}{
		{"iptables-legacy -A FORWARD -s 10.0.0.1 -j DROP", ""},
		{"iptables-legacy -P FORWARD DROP", "ip"},
		{"ip6tables-legacy -P FORWARD DROP", "ip ip6"},
		{"iptables-legacy -A FORWARD -i rwp+ -j ACCEPT", "ip ip6"},
		{"iptables-legacy -A FORWARD -i rwp+ -j ACCEPT", "ip ip6"},
		{"iptables-legacy -A FORWARD -o rwp+ -p tcp -j ACCEPT", "ip ip6"},
		{"iptables-legacy -A FORWARD -o rwp+ -j ACCEPT", "ip6"},
		{"ip6tables-legacy -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", "ip6"},
		{"ip6tables-legacy -A FORWARD -i rwp+ -j ACCEPT; ip6tables-legacy -A FORWARD -o rwp+ -j ACCEPT", ""},
		{"iptables-legacy -F FORWARD", "ip"},
		{"iptables-legacy -P FORWARD ACCEPT", ""},
	} {
		s.sh(tt.change)
		var found []string
		for _, f := range s.firewalls() {
			if !f.Legacy || f.Chain.Chain != "FORWARD" {
				t.Errorf("%s: found %+v", tt.change, f)
			}
			found = append(found, string(f.Chain.Family))
		}
		if got := strings.Join(found, " "); got != tt.want {
			t.Errorf("%s: drop %q, want %q", tt.change, got, tt.want)
		}
	}
}

func FuzzLegacyTable(f *testing.F) {
	f.Add([]byte(strings.Repeat("\x00", 400)), uint32(0), uint32(152), false)
	f.Fuzz(func(t *testing.T, entries []byte, entry, underflow uint32, v6 bool) {
		family := FamilyIPv4
		if v6 {
			family = FamilyIPv6
		}
		if _, err := legacyLayoutOf(family).drops(entries, legacyChain{entry, underflow}); err == nil && int(underflow) >= len(entries) {
			t.Errorf("an entry at %d was found in %d bytes", underflow, len(entries))
		}
	})
}

func FuzzForeignRule(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x08\x00\x01\x00abcd"))
	f.Fuzz(func(_ *testing.T, message []byte) {
		_, _ = decodeForeignRule(message, func(string) [][]byte { return [][]byte{{17}} })
		_, _ = decodeKeys(message)
	})
}
