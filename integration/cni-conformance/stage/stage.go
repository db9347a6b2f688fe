// Package stage is the world in which one case examines a plugin: a host and
// containers that are network namespaces, calls of the plugin as a runtime
// makes them, and a record of everything that was done, as a shell script.
//
// The process is expected to be in network, mount and process namespaces of
// its own (package sandbox).
package stage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/version"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

// callDeadline is how long a plugin may take; runtimes give it minutes, but
// what takes longer than this hangs.
const callDeadline = 30 * time.Second

// Stage is where a case takes place.
type Stage struct {
	Subject subject.Subject
	Version string // of the specification

	mu     sync.Mutex
	script []string
	saved  []string // results that the script keeps in variables
	chosen []chosen // by plugins, and otherwise in another run
	pods   int
	path   []string // in front of the subject's directories
}

// New is a stage for one case.
func New(s subject.Subject, specVersion string) *Stage {
	return &Stage{Subject: s, Version: specVersion}
}

// AtLeast reports whether the specification is of this version or a later one.
func (s *Stage) AtLeast(specVersion string) bool {
	later, err := version.GreaterThanOrEqualTo(s.Version, specVersion)
	return err == nil && later
}

// Sh does something to the world by a shell command, and notes it.
func (s *Stage) Sh(ctx context.Context, format string, args ...any) error {
	command := fmt.Sprintf(format, args...)
	s.note(command)
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "sh", "-euc", command).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return nil
}

// Observe notes a command that shows a reader what the case looks at.
func (s *Stage) Observe(format string, args ...any) {
	s.note(fmt.Sprintf(format, args...) + " || true")
}

func (s *Stage) note(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range lines {
		line = s.unquoted(line) // which may define variables in front
		s.script = append(s.script, line)
	}
}

// cniPath is CNI_PATH.
func (s *Stage) cniPath() string {
	return strings.Join(append(append([]string{}, s.path...), s.Subject.Path...), ":")
}

// Attachment is a container's interface in the network.
type Attachment struct {
	ID, Netns, IfName string
	Args              string
	// Result is what ADD printed; empty before.
	Result []byte
	// previous is the result of the plugins before the one under examination.
	previous []byte
	lower    [][]byte
	port     int
}

// Namespace is the name under which ip-netns knows the container.
func (a *Attachment) Namespace() string { return filepath.Base(a.Netns) }

// Container makes a container and what the plugins in front of the examined
// one do with it.
func (s *Stage) Container(ctx context.Context, name string) (*Attachment, error) {
	a, err := s.Bare(ctx, name)
	if err != nil {
		return nil, err
	}
	return a, s.Prepare(ctx, a)
}

// Bare makes a container, and nothing in it.
func (s *Stage) Bare(ctx context.Context, name string) (*Attachment, error) {
	return s.Unmade(name), s.Sh(ctx, "ip netns add %s && ip -n %s link set lo up", name, name)
}

// Unmade is a container whose namespace does not exist.
func (s *Stage) Unmade(name string) *Attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods++
	return &Attachment{ID: "conformance-" + name, Netns: "/run/netns/" + name, IfName: "eth0", port: 8000 + s.pods}
}

// Second is another interface of the same container.
func (s *Stage) Second(ctx context.Context, a *Attachment, ifName string) (*Attachment, error) {
	b := s.Unmade(a.Namespace())
	b.ID, b.IfName, b.Args = a.ID, ifName, a.Args
	return b, s.Prepare(ctx, b)
}

// Prepare runs ADD of the plugins before the examined one.
func (s *Stage) Prepare(ctx context.Context, a *Attachment) error {
	a.previous, a.lower = nil, nil
	for i := range s.Subject.Target {
		r := s.exec(ctx, s.compose("ADD", i, a, nil))
		if !r.OK() {
			return Inapplicable("the plugin in front of it, %s, fails: %s", r.Plugin, r.Brief())
		}
		a.previous = r.stdout
		a.lower = append(a.lower, r.stdout)
	}
	return nil
}

// Dismantle runs DEL of the plugins before the examined one.
func (s *Stage) Dismantle(ctx context.Context, a *Attachment) {
	for i := s.Subject.Target - 1; i >= 0; i-- {
		s.exec(ctx, s.compose("DEL", i, a, nil))
	}
}

// RemoveNetns ends a container's namespace.
func (s *Stage) RemoveNetns(ctx context.Context, a *Attachment) error {
	return s.Sh(ctx, "ip netns delete %s", a.Namespace())
}

// Exists reports whether a file is there.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
