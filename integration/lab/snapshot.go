package lab

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// Machine is what a machine holds of the kinds of things that a lab makes, as
// lines such as "namespace rw-a-n1". Compare two to see what stayed behind.
type Machine map[string]struct{}

// SnapshotMachine looks at the links and nftables tables of the network
// namespace of the calling program, at named network namespaces, mounts, labs,
// and at processes that run a lab's program or are children of this one.
func SnapshotMachine() (Machine, error) {
	m := Machine{}
	links, err := Dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		m.add("link", link.Attrs().Name)
	}
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	for _, table := range tables {
		m.add("nft table", fmt.Sprintf("family %d %s", table.Family, table.Name))
	}
	errs := []error{m.addEntries("namespace", PinDir), m.addEntries("lab", Root), m.addMounts(), m.addProcesses()}
	return m, errors.Join(errs...)
}

func (m Machine) add(kind, name string) { m[kind+" "+name] = struct{}{} }

func (m Machine) addEntries(kind, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		m.add(kind, e.Name())
	}
	return err
}

// addMounts reads proc_pid_mountinfo(5): the mount point is field 5.
func (m Machine) addMounts() error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 {
			m.add("mount", fields[4])
		}
	}
	return lines.Err()
}

func (m Machine) addProcesses() error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if _, err := identify(pid); err != nil {
			continue // ended meanwhile
		}
		exe, _ := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		program := filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
		if slices.Contains(binaries(), program) || parent(pid) == os.Getpid() {
			m.add("process", fmt.Sprintf("%d %s", pid, cmp.Or(program, "?")))
		}
	}
	return nil
}

// parent is 0 when the process has ended.
func parent(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

// New lists what is in the later snapshot and not in m, sorted.
func (m Machine) New(later Machine) []string {
	var added []string
	for _, thing := range slices.Sorted(maps.Keys(later)) {
		if _, ok := m[thing]; !ok {
			added = append(added, thing)
		}
	}
	return added
}

// Gone lists what is in m and not in the later snapshot, sorted.
func (m Machine) Gone(later Machine) []string { return later.New(m) }

// String counts by kind.
func (m Machine) String() string {
	counts := map[string]int{}
	for thing := range m {
		for _, kind := range []string{"link", "namespace", "nft table", "mount", "process", "lab"} {
			if strings.HasPrefix(thing, kind+" ") {
				counts[kind]++
			}
		}
	}
	return fmt.Sprintf("%d links, %d namespaces, %d nft tables, %d mounts, %d processes",
		counts["link"], counts["namespace"], counts["nft table"], counts["mount"], counts["process"])
}

// Leftovers compares the machine with an earlier snapshot and lists what is new
// and belongs to no other lab whose program lives. What the kernel or another
// program is just about to remove gets until ctx ends to disappear.
func Leftovers(ctx context.Context, before Machine) ([]string, error) {
	var left []string
	err := Poll(ctx, 50*time.Millisecond, func() error {
		after, err := SnapshotMachine()
		if err != nil {
			return Final{Cause: err}
		}
		left = withoutOthers(before.New(after))
		if len(left) > 0 {
			return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
		}
		return nil
	})
	if len(left) > 0 {
		return left, nil
	}
	return nil, err
}

// withoutOthers drops what belongs to labs of other living programs.
func withoutOthers(things []string) []string {
	labs, _ := states()
	var rest []string
	for _, thing := range things {
		if !belongsToOther(thing, labs) {
			rest = append(rest, thing)
		}
	}
	return rest
}

func belongsToOther(thing string, labs map[string]state) bool {
	kind, name, _ := strings.Cut(thing, " ")
	for lab, s := range labs {
		if s.Owner == self() || !s.Options.Persistent && !s.Owner.alive() {
			continue
		}
		if thing == "lab "+lab || kind != "process" && strings.HasPrefix(filepath.Base(name), "rw-"+lab+"-") {
			return true
		}
	}
	if kind == "process" {
		pidText, _, _ := strings.Cut(name, " ")
		pid, _ := strconv.Atoi(pidText)
		return !descends(pid)
	}
	return false
}

// descends says whether a process comes from this program, or has lost its
// parent, so that it may.
func descends(pid int) bool {
	if parent(pid) <= 1 {
		return true
	}
	for ; pid > 1; pid = parent(pid) {
		if pid == os.Getpid() {
			return true
		}
	}
	return false
}
