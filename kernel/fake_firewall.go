package kernel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// SetFirewalls says what others' chains drop from now on. Rules of ours stay
// where they are, as they do in the kernel when a chain's policy changes.
func (f *Fake) SetFirewalls(firewalls ...Firewall) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.firewalls = slices.SortedFunc(slices.Values(firewalls), func(a, b Firewall) int { return compareChains(a.Chain, b.Chain) })
	f.report()
}

// FlushChain deletes the rules of ours from a chain of somebody else's, as
// `iptables -F` does.
func (f *Fake) FlushChain(chain ForeignChain) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.state.Admissions, func(a Admission, _ AdmissionPlace) bool { return a.Chain == chain })
	maps.DeleteFunc(f.state.Strays, func(r ForeignRule, _ struct{}) bool { return r.Chain == chain })
	f.report()
}

// BlockAdmissions makes a chain of somebody else's decide before it comes to
// the rules of ours, which are strays then.
func (f *Fake) BlockAdmissions(chain ForeignChain) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for a, place := range f.state.Admissions {
		if a.Chain == chain {
			delete(f.state.Admissions, a)
			f.state.Strays[ForeignRule{chain, place.Handle}] = struct{}{}
		}
	}
	f.report()
}

// admit knows only chains that drop: that is all a snapshot tells of.
func (f *Fake) admit(op AdmissionAdd) error {
	i := slices.IndexFunc(f.firewalls, func(w Firewall) bool { return w.Chain == op.Chain })
	switch {
	case i < 0 || f.firewalls[i].Legacy:
		return fmt.Errorf("no chain %s", op.Chain)
	case f.firewalls[i].Owned:
		return errors.New("the table belongs to another program")
	case op.Packets != FromPods && op.Packets != ToPods:
		return fmt.Errorf("no packets %q", op.Packets)
	case op.Before != f.firewalls[i].Before:
		return fmt.Errorf("no rule with handle %d is to be preceded", op.Before)
	}
	f.handles++
	if _, twice := f.state.Admissions[op.Admission]; twice {
		f.state.Strays[ForeignRule{op.Chain, f.handles}] = struct{}{}
		return nil
	}
	f.state.Admissions[op.Admission] = AdmissionPlace{Handle: f.handles}
	return nil
}

func (f *Fake) expel(rule ForeignRule) {
	delete(f.state.Strays, rule)
	maps.DeleteFunc(f.state.Admissions, func(a Admission, place AdmissionPlace) bool {
		return a.Chain == rule.Chain && place.Handle == rule.Handle
	})
}
