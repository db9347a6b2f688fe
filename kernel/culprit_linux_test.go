package kernel

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// start runs a program in the namespace that reads commands until the test
// closes its input.
func (s space) start(args ...string) (*exec.Cmd, io.WriteCloser) {
	s.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		s.t.Fatal(err)
	}
	defer home.Close()
	if err = netns.Set(s.ns); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	input, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if back := netns.Set(home); back != nil {
		s.t.Fatal(back)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		input.Close()
		_ = cmd.Wait()
	})
	awaitName(s.t, cmd)
	return cmd, input
}

// awaitName waits until a program bears its own name: the kernel closes what
// tells Start of the exec a moment earlier.
func awaitName(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(name)) == filepath.Base(cmd.Path) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is named %s and not yet %s", cmd.Process.Pid, name, cmd.Path)
		}
		runtime.Gosched()
	}
}

// culprits waits for some.
func (s space) culprits() []Culprit {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if found := s.kernel.Culprits(); len(found) > 0 {
			return found
		}
	}
	s.t.Fatal("nobody is blamed")
	return nil
}

func TestWhoChangesWhatRopewayOwnsIsKnownByName(t *testing.T) {
	s := newSpace(t)
	desired := sampleState()
	desired.Table = sampleTables()["vxlan dual stack"]
	s.reach(desired)
	reports, err := s.kernel.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ip, commands := s.start("ip", "-batch", "-")
	for _, change := range []string{
		"route del 10.244.2.0/24",
		"neighbour del 10.244.2.1 dev ropeway-vxlan",
		"address del 10.244.1.1/32 dev ropeway-vxlan",
	} {
		if _, err := io.WriteString(commands, change+"\n"); err != nil {
			t.Fatal(err)
		}
		if found := s.culprits(); len(found) != 1 || found[0] != (Culprit{ip.Process.Pid, "ip"}) {
			t.Errorf("%s: blamed %v, want ip with pid %d", change, found, ip.Process.Pid)
		}
	}
	settle(reports)
	_ = s.kernel.Culprits()

	// What is somebody's own, or ours, is nobody's fault.
	for _, change := range []string{"route add 10.50.0.0/16 via 192.0.2.9", "address add 192.0.2.77/24 dev eth0"} {
		if _, err := io.WriteString(commands, change+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	s.reach(desired)
	settle(reports)
	if found := s.kernel.Culprits(); len(found) != 0 {
		t.Errorf("blamed %v", found)
	}
}

func TestPIDOfAProcessInAnotherNamespaceGivesNoName(t *testing.T) {
	here, there := newSpace(t), newSpace(t)
	cat, _ := there.start("cat")
	for _, tt := range []struct {
		ns   netns.NsHandle
		want Culprit
	}{
		{there.ns, Culprit{cat.Process.Pid, "cat"}},
		{here.ns, Culprit{PID: cat.Process.Pid}},
	} {
		c := culprits{ns: tt.ns}
		c.blame(uint32(cat.Process.Pid))
		if len(c.found) != 1 || c.found[0] != tt.want {
			t.Errorf("blamed %v, want %v", c.found, tt.want)
		}
	}
}

func TestProcessStatusIsRead(t *testing.T) {
	for _, tt := range []struct {
		name, status string
		want         process
		ok           bool
	}{
		{"process", "Name:\tsystemd-network\nNSpid:\t412\nVmSize:\t 1000 kB\n", process{"systemd-network", 412, false}, true},
		{"in a container", "Name:\tdhcpcd\nNSpid:\t4711\t7\nVmSize:\t 1000 kB\n", process{"dhcpcd", 7, false}, true},
		{"thread of the kernel", "Name:\tkworker/0:1\nNSpid:\t412\n", process{"kworker/0:1", 412, true}, true},
		{"nothing", "", process{thread: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := parseProcessStatus([]byte(tt.status)); got != tt.want || ok != tt.ok {
				t.Errorf("%+v, %v; want %+v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}
