package kernel

import (
	"context"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// needsProgram skips a test on a machine that lacks a program of others.
func needsProgram(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%v; install the Debian package iptables", err)
		}
	}
}

// firewalls reads those that drop.
func (s space) firewalls() []Firewall {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	snapshot, err := s.kernel.Snapshot(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return snapshot.Firewalls
}

// admitting is what topology makes of the firewalls: rules in each chain that
// packets are forwarded through.
func (s space) admitting() State {
	s.t.Helper()
	desired := newState()
	for _, f := range s.firewalls() {
		if f.Hook == Forward && !f.Legacy && !f.Owned {
			for _, side := range []PodSide{FromPods, ToPods} {
				desired.Admissions[Admission{f.Chain, side}] = AdmissionPlace{Before: f.Before}
			}
		}
	}
	return desired
}

// admit lets pods through all firewalls, and says by which commands.
func (s space) admit() string {
	s.t.Helper()
	desired := s.admitting()
	plan := Diff(only(s.state(), desired), desired)
	if err := s.try(plan); err != nil {
		s.t.Fatalf("%v\nplan:\n%s", err, plan)
	}
	if again := Diff(only(s.state(), desired), s.admitting()); !again.Empty() {
		s.t.Fatalf("a second plan is not empty:\n%s", again)
	}
	return plan.String()
}

// expel removes what admit has made.
func (s space) expel() {
	s.t.Helper()
	if err := s.try(Diff(s.state(), newState())); err != nil {
		s.t.Fatal(err)
	}
}

const iptablesDrop = "iptables-nft -P FORWARD DROP"

func TestIptablesNftUnderstandsTheAdmittingRules(t *testing.T) {
	needsProgram(t, "iptables-nft", "ip6tables-nft")
	s := newSpace(t)
	s.sh("set -e; " + iptablesDrop + "; ip6tables-nft -P FORWARD DROP; iptables-nft-save | iptables-nft-restore; ip6tables-nft-save | ip6tables-nft-restore")
	before := s.sh("iptables-nft-save; ip6tables-nft-save; nft list ruleset")
	want := `nft add rule ip filter FORWARD iifname "rwp*" counter accept
nft add rule ip filter FORWARD oifname "rwp*" counter accept
nft add rule ip6 filter FORWARD iifname "rwp*" counter accept
nft add rule ip6 filter FORWARD oifname "rwp*" counter accept
`
	if d := cmp.Diff(want, s.admit()); d != "" {
		t.Errorf("plan (-want +got):\n%s", d)
	}
	for _, tool := range []string{"iptables-nft", "ip6tables-nft"} {
		rules := s.sh(tool + " -S FORWARD")
		if want := "-P FORWARD DROP\n-A FORWARD -i rwp+ -j ACCEPT\n-A FORWARD -o rwp+ -j ACCEPT\n"; rules != want {
			t.Errorf("%s -S FORWARD:\n%s", tool, rules)
		}
		// It checks the whole table before it saves, deletes by content, and
		// takes back what it has saved.
		s.sh("set -e; " + tool + "-save >/tmp/ropeway-saved.$$; " + tool + "-restore </tmp/ropeway-saved.$$; rm /tmp/ropeway-saved.$$")
		s.sh(tool + " -C FORWARD -i rwp+ -j ACCEPT && " + tool + " -C FORWARD -o rwp+ -j ACCEPT")
	}
	if again := s.admit(); again != "" {
		t.Errorf("after iptables-restore the rules are not recognised:\n%s", again)
	}
	s.expel()
	after := s.sh("iptables-nft-save; ip6tables-nft-save; nft list ruleset")
	if d := cmp.Diff(undated(before), undated(after)); d != "" {
		t.Errorf("after cleanup (-before +after):\n%s", d)
	}
}

// counted is how iptables-save and nft write what a chain or rule has counted.
var counted = regexp.MustCompile(`\[\d+:\d+\]|packets \d+ bytes \d+`)

// undated drops the dates that iptables-save prints, its warnings, and the
// counts of packets, which the kernel itself sends at any time.
func undated(ruleset string) string {
	var lines []string
	for line := range strings.Lines(ruleset) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, counted.ReplaceAllString(line, "counted"))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func TestWhatIptablesNftMakesIsRecognised(t *testing.T) {
	needsProgram(t, "iptables-nft")
	s := newSpace(t)
	s.sh(iptablesDrop + "; iptables-nft -A FORWARD -i rwp+ -j ACCEPT; iptables-nft -A FORWARD -o rwp+ -j ACCEPT")
	if plan := s.admit(); plan != "" {
		t.Errorf("plan:\n%s", plan)
	}
}

// ufwRules is the skeleton of chains that ufw makes.
const ufwRules = `set -e
iptables-nft -P INPUT DROP; iptables-nft -P FORWARD DROP
for c in ufw-before-logging-forward ufw-before-forward ufw-after-forward ufw-after-logging-forward ufw-reject-forward ufw-track-forward ufw-user-forward; do
	iptables-nft -N $c
	[ $c = ufw-user-forward ] || iptables-nft -A FORWARD -j $c
done
for c in ufw-before-input ufw-after-input ufw-after-logging-input ufw-reject-input ufw-user-input; do
	iptables-nft -N $c
	[ $c = ufw-user-input ] || iptables-nft -A INPUT -j $c
done
iptables-nft -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables-nft -A ufw-before-forward -j ufw-user-forward
iptables-nft -A ufw-after-logging-forward -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix '[UFW BLOCK] '
iptables-nft -A ufw-before-input -i lo -j ACCEPT
iptables-nft -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables-nft -A ufw-before-input -m conntrack --ctstate INVALID -j DROP
iptables-nft -A ufw-before-input -p icmp --icmp-type echo-request -j ACCEPT
iptables-nft -A ufw-before-input -p udp --sport 67 --dport 68 -j ACCEPT
iptables-nft -A ufw-before-input -j ufw-user-input
iptables-nft -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
iptables-nft -A ufw-after-input -p udp -m udp --dport 137 -j RETURN
`

func TestUfwHasItsSayBeforePodsAreAdmittedAndLogsNoneOfThem(t *testing.T) {
	needsProgram(t, "iptables-nft")
	s := newSpace(t)
	s.sh(ufwRules)
	s.admit()
	want := `-P FORWARD DROP
-A FORWARD -j ufw-before-logging-forward
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -i rwp+ -j ACCEPT
-A FORWARD -o rwp+ -j ACCEPT
-A FORWARD -j ufw-after-logging-forward
-A FORWARD -j ufw-reject-forward
-A FORWARD -j ufw-track-forward
`
	if d := cmp.Diff(want, s.sh("iptables-nft -S FORWARD")); d != "" {
		t.Errorf("FORWARD (-want +got):\n%s", d)
	}
	input := s.inputOf("ip filter INPUT")
	if input.Program != "ufw" || input.Admits(17, 4789) || input.Admits(4, 0) {
		t.Errorf("ufw's default lets tunnel packets in: %+v", input)
	}
	s.sh("iptables-nft -A ufw-user-input -p udp --dport 4789 -j ACCEPT")
	if input := s.inputOf("ip filter INPUT"); !input.Admits(17, 4789) || input.Admits(17, 4790) || input.Admits(4, 0) {
		t.Errorf("after `ufw allow 4789/udp`: %+v", input)
	}
}

func TestChainThatIsForTheOperatorToFillComesFirst(t *testing.T) {
	needsProgram(t, "iptables-nft")
	s := newSpace(t)
	s.sh(iptablesDrop + "; iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER")
	s.admit()
	want := "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n-A FORWARD -i rwp+ -j ACCEPT\n-A FORWARD -o rwp+ -j ACCEPT\n"
	if d := cmp.Diff(want, s.sh("iptables-nft -S FORWARD")); d != "" {
		t.Errorf("FORWARD (-want +got):\n%s", d)
	}
}

func (s space) inputOf(chain string) Firewall {
	s.t.Helper()
	for _, f := range s.firewalls() {
		if f.Hook == Input && f.Chain.String() == chain {
			return f
		}
	}
	s.t.Fatalf("no chain %s drops: %+v", chain, s.firewalls())
	return Firewall{}
}

// firewalldRules is the skeleton of what firewalld loads.
const firewalldRules = `table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_IN_public
		reject with icmpx admin-prohibited
	}
	chain filter_IN_public { tcp dport 22 accept; meta l4proto { icmp, ipv6-icmp } accept; }
	chain filter_FORWARD {
		type filter hook forward priority 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_FORWARD_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_FORWARD_ZONES {
		iifname "eth0" goto filter_FWD_public
		goto filter_FWD_public
	}
	chain filter_FWD_public { jump filter_FWD_public_deny; reject with icmpx admin-prohibited; }
	chain filter_FWD_public_deny { ip saddr 203.0.113.1 drop; }
}
`

func TestFirewalldIsPassedWhereItWouldReject(t *testing.T) {
	s := newSpace(t)
	s.nft(firewalldRules)
	s.admit()
	chain := s.sh("nft list chain inet firewalld filter_FORWARD")
	invalid, ours, zones := strings.Index(chain, "invalid drop"), strings.Index(chain, `iifname "rwp*"`), strings.Index(chain, "jump filter_FORWARD_ZONES")
	if invalid < 0 || ours < invalid || zones < ours {
		t.Errorf("the rules stand in the wrong place:\n%s", chain)
	}
	input := s.inputOf("inet firewalld filter_INPUT")
	if input.Program != "firewalld" || input.Admits(17, 4789) {
		t.Errorf("firewalld's default lets tunnel packets in: %+v", input)
	}
	// A reload loads everything anew.
	s.nft("delete table inet firewalld\n" + firewalldRules)
	if plan := s.admit(); strings.Count(plan, "nft insert rule inet firewalld filter_FORWARD handle") != 2 {
		t.Errorf("plan after a reload:\n%s", plan)
	}
}

func TestRulesOfOthersAreTheirOwn(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		want        string // chains that drop
	}{
		{"a chain that accepts", "table inet a { chain f { type filter hook forward priority 0; ip saddr 10.0.0.1 drop; }; }", ""},
		{"policy drop with accept before", "table inet a { chain f { type filter hook forward priority 0; policy drop; accept; }; }", ""},
		{"policy drop", "table inet a { chain f { type filter hook forward priority 0; policy drop; ct state established accept; }; }", "inet a f"},
		{"jump to a chain that rejects", "table inet a { chain r { counter log reject; }; chain f { type filter hook forward priority 0; jump r; }; }", "inet a f"},
		{"goto a chain that returns", "table inet a { chain r { return; }; chain f { type filter hook forward priority 0; goto r; drop; }; }", ""},
		{"goto a chain that returns to policy drop", "table inet a { chain r { return; }; chain f { type filter hook forward priority 0; policy drop; goto r; }; }", "inet a f"},
		{"drops sometimes", "table inet a { chain f { type filter hook forward priority 0; limit rate 1/second drop; }; }", ""},
		{"other hook", "table inet a { chain f { type filter hook output priority 0; policy drop; }; }", ""},
		{"dormant", "table inet a { flags dormant; chain f { type filter hook forward priority 0; policy drop; }; }", ""},
		{"bridge", "table bridge a { chain f { type filter hook forward priority 0; policy drop; }; }", ""},
		{"kube-proxy", `table ip kube-proxy {
	map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.96.0.1 . tcp . 80 : goto reject-chain } }
	chain reject-chain { reject; }
	chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
	chain filter-forward { type filter hook forward priority -110; ct state new jump service-endpoints-check; }
}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSpace(t)
			s.nft(tt.rules)
			var found []string
			for _, f := range s.firewalls() {
				found = append(found, f.Chain.String())
			}
			if got := strings.Join(found, ", "); got != tt.want {
				t.Errorf("drop: %q, want %q", got, tt.want)
			}
			before := s.sh("nft list ruleset")
			s.admit()
			s.expel()
			if d := cmp.Diff(before, s.sh("nft list ruleset")); d != "" {
				t.Errorf("after cleanup (-before +after):\n%s", d)
			}
		})
	}
}

func TestDamageToTheAdmittingRulesIsRepaired(t *testing.T) {
	needsProgram(t, "iptables-nft")
	for _, damage := range []string{
		"iptables-nft -F FORWARD",
		"iptables-nft -D FORWARD -i rwp+ -j ACCEPT",
		"iptables-nft -I FORWARD -j DROP",                                            // ours are too late now
		"iptables-nft -A FORWARD -i rwp+ -j ACCEPT",                                  // twice
		"iptables-nft -I FORWARD -j DROP; iptables-nft -I FORWARD -i rwp+ -j ACCEPT", // half of them
	} {
		t.Run(damage, func(t *testing.T) {
			s := newSpace(t)
			s.sh(iptablesDrop)
			s.admit()
			s.sh(damage)
			if plan := s.admit(); plan == "" {
				t.Error("nothing is repaired")
			}
			for _, match := range []string{"-i rwp+", "-o rwp+"} {
				if rules := s.sh("iptables-nft -S FORWARD"); strings.Count(rules, match) != 1 {
					t.Errorf("rules:\n%s", rules)
				}
			}
		})
	}
}

func TestRulesGoWhenTheChainDropsNoMore(t *testing.T) {
	needsProgram(t, "iptables-nft")
	s := newSpace(t)
	s.sh(iptablesDrop)
	s.admit()
	s.sh("iptables-nft -P FORWARD ACCEPT")
	s.admit()
	if rules := s.sh("iptables-nft -S FORWARD"); rules != "-P FORWARD ACCEPT\n" {
		t.Errorf("rules:\n%s", rules)
	}
}

func TestDeletionSparesRulesOfATableThatWasMadeAnew(t *testing.T) {
	s := newSpace(t)
	const table = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
	s.nft(table)
	s.admit()
	plan := Diff(s.state(), newState())
	s.nft("delete table ip filter\n" + table)
	s.nft("add rule ip filter FORWARD ip saddr 10.0.0.1 accept\nadd rule ip filter FORWARD ip saddr 10.0.0.2 accept\nadd rule ip filter FORWARD ip saddr 10.0.0.3 accept")
	if err := s.try(plan); err != nil {
		t.Fatal(err)
	}
	if rules := s.sh("nft list chain ip filter FORWARD"); strings.Count(rules, "saddr") != 3 {
		t.Errorf("plan:\n%srules:\n%s", plan, rules)
	}
}

func TestWatchReportsWhatConcernsPodsInOtherFirewalls(t *testing.T) {
	needsProgram(t, "iptables-nft")
	s := newSpace(t)
	s.sh(iptablesDrop + "; iptables-nft -N OTHER; iptables-nft -t nat -N NAT")
	s.admit()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports, err := s.kernel.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		change  string
		concern bool
	}{
		{"iptables-nft -A OTHER -s 10.0.0.1 -j DROP", false},
		{"iptables-nft -t nat -A NAT -s 10.0.0.1 -j ACCEPT", false},
		{"iptables-nft -A FORWARD -s 10.0.0.1 -j DROP", true},
		{"iptables-nft -F FORWARD", true},
		{"iptables-nft -P FORWARD ACCEPT", true},
		{"nft 'add table inet new; add chain inet new f { type filter hook forward priority 0; policy drop; }'", true},
		{"nft delete table ip filter", true},
	} {
		settle(reports)
		s.sh(tt.change)
		wait := time.Second / 2
		if tt.concern {
			wait = 20 * time.Second
		}
		select {
		case <-reports:
			if !tt.concern {
				t.Errorf("reported: %s", tt.change)
			}
		case <-time.After(wait):
			if tt.concern {
				t.Errorf("not reported: %s", tt.change)
			}
		}
	}
}

func TestTableThatBelongsToAProgramIsKnownToBeOutOfReach(t *testing.T) {
	s := newSpace(t)
	_, commands := s.start("nft", "-i")
	if _, err := commands.Write([]byte("add table inet owned { flags owner; }\nadd chain inet owned f { type filter hook forward priority 0; policy drop; }\n")); err != nil {
		t.Fatal(err)
	}
	var found []Firewall
	for end := time.Now().Add(10 * time.Second); len(found) == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		found = s.firewalls()
	}
	if len(found) != 1 || !found[0].Owned {
		t.Fatalf("found %+v", found)
	}
	add := AdmissionAdd{Admission: Admission{found[0].Chain, FromPods}}
	if err := s.try(Plan{Ops: []Op{add}}); err == nil {
		t.Error("the kernel let us change it")
	}
}
