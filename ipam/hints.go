package ipam

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/statedir"
)

// A network that is nearly full keeps a list of addresses that were free when
// somebody looked or was done with them, the oldest first. Whoever finds the next
// addresses taken looks there before it lists the whole directory. The list is
// only a hint: each address of it is asked for by name before it is given, and
// without the list nothing but time is lost. There is none until an ADD had to
// list the directory.
const (
	hintName = lastNamePrefix + "free"
	// mostHints is how many addresses an ADD writes that had to list.
	mostHints = 256
	// mostHintBytes bounds the list; a longer one is begun anew.
	mostHintBytes = 64 << 10
)

// hints reads the list. It is false where there is none.
func (d directory) hints() ([]netip.Addr, bool) {
	b, err := statedir.ReadFile(d.path(hintName), mostHintBytes)
	if err != nil {
		return nil, false
	}
	return parseHints(b), true
}

// parseHints passes over what is no address, such as a line that a killed
// process left unfinished.
func parseHints(b []byte) []netip.Addr {
	var addrs []netip.Addr
	for line := range strings.Lines(string(b)) {
		if a, ok := parseAddressName(strings.TrimSuffix(line, "\n")); ok && strings.HasSuffix(line, "\n") {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// setHints replaces the list. A failure is not worth failing for.
func (d directory) setHints(addrs []netip.Addr) {
	var b []byte
	for _, a := range addrs {
		b = append(a.AppendTo(b), '\n')
	}
	if err := os.WriteFile(d.path(hintName), b, 0o600); err != nil {
		_ = os.Remove(d.path(hintName))
	}
}

// addHints appends addresses that became free, if there is a list.
func (d directory) addHints(addrs []netip.Addr) {
	f, err := statedir.Open(d.path(hintName), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > mostHintBytes-4096 {
		_ = os.Remove(d.path(hintName))
		return
	}
	var b []byte
	for _, a := range addrs {
		b = append(a.AppendTo(b), '\n')
	}
	_, _ = f.Write(b)
}

// hinted gives the oldest hint that is of the set and still free.
func (p *picker) hinted(set RangeSet) (netip.Addr, Range, bool) {
	addrs, ok := p.dir.hints()
	if !ok {
		return netip.Addr{}, Range{}, false
	}
	var others []netip.Addr // of other sets
	for i, a := range addrs {
		r, ok := set.Range(a)
		if !ok {
			others = append(others, a)
			continue
		}
		if slices.Contains(p.gateways, a) {
			continue
		}
		if _, err := os.Lstat(p.dir.path(a.String())); errors.Is(err, fs.ErrNotExist) {
			p.dir.setHints(append(others, addrs[i+1:]...))
			return a, r, true
		}
	}
	return netip.Addr{}, Range{}, false
}

// hint writes down what is free behind the address that is given, having listed
// the directory.
func (p *picker) hint(set RangeSet, given netip.Addr) {
	old, _ := p.dir.hints()
	free := slices.DeleteFunc(old, func(a netip.Addr) bool { _, ok := set.Range(a); return ok })
	n := 0
	for a := range set.after(given) {
		if a != given && !p.taken[a] && !slices.Contains(p.gateways, a) {
			free = append(free, a)
			n++
		}
		if n == mostHints {
			break
		}
	}
	p.dir.setHints(free)
}
