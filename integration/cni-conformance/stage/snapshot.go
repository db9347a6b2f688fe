package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Snapshot is what there is on the host, one line a thing, sorted.
type Snapshot []string

// Own is a directory for what the cases themselves need; no snapshot sees it.
const Own = "/run/conformance"

// settleTime is how long a plugin may go on cleaning after DEL or GC ended.
const settleTime = 3 * time.Second

// Snapshot lists links, routes, rules, permanent neighbours, nftables and
// iptables rules and files of the host.
func (s *Stage) Snapshot(ctx context.Context) (Snapshot, error) {
	var lines []string
	for _, part := range []func(context.Context) ([]string, error){links, routes, rules, firewall, files} {
		found, err := part(ctx)
		if err != nil {
			return nil, err
		}
		lines = append(lines, found...)
	}
	slices.Sort(lines)
	return lines, nil
}

// Beyond is what the snapshot has and the earlier one has not.
func (n Snapshot) Beyond(before Snapshot) []string {
	had := map[string]int{}
	for _, line := range before {
		had[line]++
	}
	var more []string
	for _, line := range n {
		if had[line]--; had[line] < 0 {
			more = append(more, line)
		}
	}
	return more
}

// Show notes the commands that show a reader what a snapshot holds.
func (s *Stage) Show() {
	s.Observe("ip link; ip route show table all; nft list ruleset; find /run /var/lib -type f")
}

// Leftovers is what is there beyond an earlier snapshot, after a plugin that
// goes on working in the background has had its time.
func (s *Stage) Leftovers(ctx context.Context, before Snapshot) ([]string, error) {
	s.note("sleep 1")
	s.Show()
	var more []string
	err := Await(ctx, settleTime, func() (bool, error) {
		now, nowErr := s.Snapshot(ctx)
		more = now.Beyond(before)
		return len(more) == 0, nowErr
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = ctx.Err()
	}
	return more, err
}

// Baseline attaches and detaches a first container and returns what the
// plugin keeps for good after that, such as a bridge or a lock file.
func (s *Stage) Baseline(ctx context.Context) (Snapshot, error) {
	for _, name := range []string{"warm", "warmer"} {
		a, err := s.Attached(ctx, name)
		if err != nil {
			return nil, err
		}
		if err := s.Deleted(ctx, a); err != nil {
			return nil, err
		}
		s.Dismantle(ctx, a)
		if err := s.RemoveNetns(ctx, a); err != nil {
			return nil, err
		}
	}
	return s.settled(ctx)
}

// settled waits until two snapshots in a row are equal: the kernel takes down
// a namespace in the background.
func (s *Stage) settled(ctx context.Context) (Snapshot, error) {
	last, err := s.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	err = Await(ctx, callDeadline, func() (bool, error) {
		now, nextErr := s.Snapshot(ctx)
		same := slices.Equal(now, last)
		last = now
		return same, nextErr
	})
	return last, err
}

func links(context.Context) ([]string, error) {
	all, err := netlink.LinkList()
	var lines []string
	for _, l := range all {
		lines = append(lines, "link "+l.Attrs().Name)
	}
	return lines, err
}

func routes(context.Context) ([]string, error) {
	all, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	var lines []string
	for _, r := range all {
		// The kernel makes these by itself when a link comes up.
		if r.Dst != nil && (r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast()) {
			continue
		}
		device := fmt.Sprint(r.LinkIndex)
		if l, linkErr := netlink.LinkByIndex(r.LinkIndex); linkErr == nil {
			device = l.Attrs().Name
		}
		lines = append(lines, fmt.Sprintf("route %v via %v dev %s table %d type %d", r.Dst, r.Gw, device, r.Table, r.Type))
	}
	return lines, err
}

func rules(context.Context) ([]string, error) {
	var lines []string
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		all, err := netlink.RuleList(family)
		if err != nil {
			return nil, err
		}
		for _, r := range all {
			lines = append(lines, fmt.Sprintf("rule family %d %s", family, r.String()))
		}
	}
	return lines, nil
}

// firewall reads rules with the tools that the machine has.
func firewall(ctx context.Context) ([]string, error) {
	var lines []string
	for _, tool := range [][]string{{"nft", "-s", "list", "ruleset"}, {"iptables-legacy-save"}, {"ip6tables-legacy-save"}} {
		path, err := exec.LookPath(tool[0])
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, path, tool[1:]...).Output()
		if err != nil {
			continue // this kernel has no such rules
		}
		lines = append(lines, firewallLines(string(out))...)
	}
	return lines, nil
}

// firewallLines gives each rule its table and chain, and each element of a
// set a line of its own: their order means nothing.
func firewallLines(text string) []string {
	elements := regexp.MustCompile(`(?s)elements = \{([^}]*)\}`)
	text = elements.ReplaceAllStringFunc(text, func(all string) string {
		list := elements.FindStringSubmatch(all)[1]
		return "element " + strings.Join(strings.Split(strings.Join(strings.Fields(list), " "), ", "), "\nelement ")
	})
	var lines, context []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line == "}":
			if len(context) > 0 {
				context = context[:len(context)-1]
			}
		case strings.HasSuffix(line, "{"):
			context = append(context, strings.TrimSuffix(line, " {"))
			lines = append(lines, "firewall "+strings.Join(context, ", "))
		case line[0] == ':':
			lines = append(lines, "firewall chain "+strings.Fields(line[1:])[0])
		default:
			lines = append(lines, "firewall "+strings.Join(append(slices.Clone(context), line), ", "))
		}
	}
	return lines
}

// files lists what plugins have written in the places that are theirs.
func files(context.Context) ([]string, error) {
	var lines []string
	for _, root := range []string{"/run", "/var/lib"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if path == "/run/netns" || path == Own {
				return filepath.SkipDir
			}
			if err == nil && !d.IsDir() {
				lines = append(lines, "file "+path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// Find returns the files whose name is given, such as reservations that are
// named by their address.
func Find(name string) []string {
	all, err := files(context.Background())
	if err != nil {
		return nil
	}
	var found []string
	for _, line := range all {
		if path := strings.TrimPrefix(line, "file "); filepath.Base(path) == name {
			found = append(found, path)
		}
	}
	return found
}
