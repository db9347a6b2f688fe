package crash

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/integration/crash/disk"
	"github.com/ropeway-net/ropeway/integration/kernels"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// TestPowerCutOfAMachineLosesNoAddressAndStopsNoLaterCall cuts the power of a
// virtual machine again and again while pods come and go in it. Its disk loses
// any part of what was not flushed. The next boot goes on with it, and must be
// able to give all addresses; on a copy of it another one recovers wholly.
func TestPowerCutOfAMachineLosesNoAddressAndStopsNoLaterCall(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	cuts := 3
	if every() {
		cuts = 220
	}
	r := newReplay(t, fileSystems()[0])
	m := prepareMachine(t, r)
	d, attaching := r.fs.make(t, r.memory), 0
	for i := range cuts {
		d = m.run(t, r, d, i)
		way := RecoveryWays()[i%len(RecoveryWays())]
		r.boot.is(t, fmt.Sprint("after-cut-", i))
		left, err := r.inspect(d)
		if err != nil {
			t.Fatalf("after power cut %d: %v", i, err)
		}
		if left {
			attaching++
		}
		if err := r.recover(d, fmt.Sprint("cut", i), way); err != nil {
			t.Fatalf("after power cut %d, recovery by %s: %v", i, way, err)
		}
		if i%20 == 19 {
			t.Logf("%d power cuts", i+1)
		}
	}
	t.Logf("recovered from %d power cuts of a machine, %d of them with attachments on its disk", cuts, attaching)
}

// machine is a virtual machine in which pods come and go.
type machine struct {
	*kernels.Machine
	dir string
}

func prepareMachine(t *testing.T, r *replay) machine {
	t.Helper()
	if err := kernels.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	bin, err := lab.FindBinaries("")
	if err != nil {
		t.Fatal(err)
	}
	dir := inMemory(t)
	serve(t, r.fs.make(t, r.memory), filepath.Join(dir, "disk"))
	m, err := kernels.Prepare(t.Context(), kernels.Job{
		Files:   map[string]string{"/crash/bin/ropeway": filepath.Join(bin, "ropeway"), "/crash/guest": compileGuest(t)},
		Command: []string{"/crash/guest"},
		Env:     []string{runAsGuest + "=1"},
		Modules: []string{
			"virtio_pci", "virtio_blk", "ext4", "veth", "nf_tables", "nft_chain_nat",
			"nft_nat", "nft_masq", "nft_fib_inet", "nft_ct", "nf_conntrack_netlink",
		},
		CPUs: 1, MemoryMB: 768,
		Output: t.Output(),
	}, "nbd:unix:"+filepath.Join(dir, "disk"), dir)
	if err != nil {
		t.Fatal(err)
	}
	return machine{m, dir}
}

// compileGuest compiles these tests for a machine that has no libraries.
func compileGuest(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guest")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the guest's program: %v\n%s", err, out)
	}
	return path
}

// serve serves a disk at a socket until the returned function is called.
func serve(t *testing.T, d *disk.Disk, path string) (wait func()) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		client, err := listener.Accept()
		if err == nil {
			err = d.ServeNBD(client)
		}
		done <- err
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return func() {
		t.Helper()
		_ = listener.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// guestTime is how long a machine may take to the first pods; emulation on a
// busy machine takes its time.
const guestTime = 3 * time.Minute

// run starts the machine with a disk, cuts its power at a random moment after
// its first pod has been attached, and returns what the disk is then.
func (m machine) run(t *testing.T, r *replay, d *disk.Disk, boot int) *disk.Disk {
	t.Helper()
	socket := filepath.Join(m.dir, "disk")
	wait := serve(t, d, socket)
	said := make(chan string, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), guestTime)
	defer cancel()
	running, err := m.Start(ctx, "nbd:unix:"+socket, m.dir, func(line string) { said <- line })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(running.Cut)
	m.waitForPod(t, running, said, boot)
	moment := time.NewTimer(time.Duration(r.random.Int64N(int64(2 * time.Second))))
	defer moment.Stop()
	for cut := false; !cut; {
		select {
		case <-moment.C:
			cut = true
		case line := <-said:
			wantNoFailure(t, running, line)
		}
	}
	running.Cut()
	wait()
	return r.checkedAtBoot(d.Cut(d.Events(), disk.Some(r.random)))
}

// checkedAtBoot is what every distribution does before it mounts ext4: where a power
// cut has torn the last block of the journal, some kernels mount it only then.
func (r *replay) checkedAtBoot(d *disk.Disk) *disk.Disk {
	r.Helper()
	path := filepath.Join(r.memory, "checked")
	if err := d.WriteFile(path); err != nil {
		r.Fatal(err)
	}
	const repaired = 3 // exit codes up to it are about what has been put right
	for _, how := range []string{"-p", "-y"} {
		cmd := exec.CommandContext(r.Context(), "e2fsck", how, path)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			r.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); 0 <= code && code <= repaired {
			break
		}
		r.Logf("e2fsck %s: %s", how, out)
		if how == "-y" {
			r.Fatalf("the file system cannot be repaired: %v", err)
		}
	}
	checked, err := disk.Read(path)
	if err != nil {
		r.Fatal(err)
	}
	return checked
}

// waitForPod tells the machine which boot it is, until it says that it has
// attached a pod.
func (m machine) waitForPod(t *testing.T, running *kernels.Running, said <-chan string, boot int) {
	t.Helper()
	tell := time.NewTicker(time.Second / 2)
	defer tell.Stop()
	heard := false
	for {
		select {
		case <-tell.C:
			if heard {
				continue
			}
			if err := running.Say(fmt.Sprint("\nboot-", boot)); err != nil {
				t.Fatalf("%v; the machine said last:\n%s", err, running.Last())
			}
		case line := <-said:
			wantNoFailure(t, running, line)
			heard = heard || strings.Contains(line, "guest: this is")
			if strings.Contains(line, "guest: attached") {
				return
			}
		case <-running.Done():
			t.Fatalf("the machine did not come up; last it said:\n%s", running.Last())
		}
	}
}

func wantNoFailure(t *testing.T, running *kernels.Running, line string) {
	t.Helper()
	if strings.Contains(line, "guest: failed") || strings.Contains(line, "Kernel panic") {
		waitForRest(running)
		t.Fatalf("in the machine: %s; last it said:\n%s", line, running.Last())
	}
}

// waitForRest lets a machine say why it failed: its program ends after that.
func waitForRest(running *kernels.Running) {
	enough := time.NewTimer(10 * time.Second)
	defer enough.Stop()
	select {
	case <-running.Done():
	case <-enough.C:
	}
}
