package kernels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Machine is a guest with a disk, saved when its command was ready. It can be
// started from there again and again, each time with another disk, and its
// power can be cut; that takes a second instead of half a minute for a boot.
type Machine struct {
	job   Job
	img   image
	state string // file
}

// ReadyLine is what the command of a [Machine] prints once it has done what all
// starts have in common. It must not have read the disk /dev/vda by then.
const ReadyLine = "machine: ready"

// Running is a machine that is running.
type Running struct {
	cmd     *exec.Cmd
	output  *lines
	control net.Conn
	done    chan struct{}
	stop    context.CancelFunc
}

// Prepare boots the job's kernel and saves it below dir. A disk is served at
// the address during that, in a form that qemu knows, and later ones must be of
// the same size.
func Prepare(ctx context.Context, job Job, disk, dir string) (*Machine, error) {
	if err := checkPackages(); err != nil {
		return nil, err
	}
	job, err := job.withDefaults()
	if err != nil {
		return nil, err
	}
	img, err := fetch(ctx, job.CacheDir)
	if err != nil {
		return nil, err
	}
	initramfs, err := buildInitramfs(ctx, img, job)
	if err != nil {
		return nil, fmt.Errorf("build the guest's file system: %w", err)
	}
	defer initramfs.Close()
	m := &Machine{job: job, img: img, state: filepath.Join(dir, "state")}
	monitor := filepath.Join(dir, "monitor")
	ready := make(chan struct{})
	var once sync.Once
	output := newLines(job.Output, func(line string) {
		if strings.Contains(line, ReadyLine) {
			once.Do(func() { close(ready) })
		}
	})
	r, err := m.start(ctx, disk, dir, output, initramfs, "-qmp", "unix:"+monitor+",server=on,wait=off")
	if err != nil {
		return nil, err
	}
	defer r.Cut()
	select {
	case <-ready:
	case <-r.done:
		return nil, fmt.Errorf("prepare a machine: qemu ended; last it said:\n%s", output.last())
	case <-ctx.Done():
		return nil, fmt.Errorf("prepare a machine: %w; last it said:\n%s", ctx.Err(), output.last())
	}
	return m, save(ctx, monitor, m.state)
}

// Start goes on from where the machine was saved, with the disk that is served
// at an address. What the command prints goes to output, line by line.
func (m *Machine) Start(ctx context.Context, disk, dir string, output func(line string)) (*Running, error) {
	return m.start(ctx, disk, dir, newLines(nil, output), nil, "-incoming", "exec:cat "+quote(m.state))
}

func (m *Machine) start(ctx context.Context, disk, dir string, output *lines, initramfs *os.File, more ...string) (*Running, error) {
	control := filepath.Join(dir, "control")
	args := qemuArgs(TCG, m.img, "machine", m.job)
	if initramfs == nil {
		args = withoutInitrd(args)
	}
	args = append(args, "-serial", "unix:"+control+",server=on,wait=off",
		"-drive", "file="+disk+",format=raw,if=virtio")
	ctx, stop := context.WithCancel(ctx)
	r := &Running{output: output, done: make(chan struct{}), stop: stop}
	r.cmd = exec.CommandContext(ctx, qemuProgram, append(args, more...)...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if initramfs != nil {
		r.cmd.ExtraFiles = []*os.File{initramfs}
	}
	r.cmd.Stdout, r.cmd.Stderr = output, output
	started := make(chan error)
	go func() {
		// As in boot: qemu dies with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := r.cmd.Start()
		started <- err
		if err == nil {
			_ = r.cmd.Wait() // it is killed as a rule
		}
		close(r.done)
	}()
	if err := <-started; err != nil {
		stop()
		return nil, fmt.Errorf("start %s: %w", qemuProgram, err)
	}
	var err error
	if r.control, err = dial(ctx, control, r.done); err != nil {
		r.Cut()
		return nil, err
	}
	return r, nil
}

func withoutInitrd(args []string) []string {
	var kept []string
	for i := 0; i < len(args); i++ {
		if args[i] == "-initrd" {
			i++
			continue
		}
		kept = append(kept, args[i])
	}
	return kept
}

// Say writes a line to the guest's second serial port, /dev/ttyS1. A guest that
// is only being restored loses it.
func (r *Running) Say(line string) error {
	_, err := io.WriteString(r.control, line+"\n")
	return err
}

// Cut cuts the power.
func (r *Running) Cut() {
	r.stop() // SIGKILL
	<-r.done
	if r.control != nil {
		_ = r.control.Close()
	}
}

// Last is the end of what the machine and qemu have said.
func (r *Running) Last() string { return r.output.last() }

// Done is closed when the machine has ended.
func (r *Running) Done() <-chan struct{} { return r.done }

func dial(ctx context.Context, path string, done <-chan struct{}) (net.Conn, error) {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return conn, nil
		}
		select {
		case <-done:
			return nil, errors.New("qemu ended at its start")
		case <-ctx.Done():
			return nil, err
		case <-poll.C:
		}
	}
}

// save writes the machine to a file, by the QEMU machine protocol.
func save(ctx context.Context, monitor, state string) error {
	conn, err := dial(ctx, monitor, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	q := qmp{conn, json.NewDecoder(conn)}
	for _, command := range []map[string]any{
		{"execute": "qmp_capabilities"},
		{"execute": "migrate", "arguments": map[string]any{"uri": "exec:cat > " + quote(state)}},
	} {
		if _, err := q.run(command); err != nil {
			return err
		}
	}
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		answer, err := q.run(map[string]any{"execute": "query-migrate"})
		if err != nil {
			return err
		}
		switch answer.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("save the machine: %s", answer.Status)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}

type qmp struct {
	conn    net.Conn
	answers *json.Decoder
}

type qmpAnswer struct{ Status string }

func (q qmp) run(command map[string]any) (qmpAnswer, error) {
	if err := json.NewEncoder(q.conn).Encode(command); err != nil {
		return qmpAnswer{}, err
	}
	for {
		var message struct {
			Return *qmpAnswer
			Error  *struct{ Desc string }
		}
		if err := q.answers.Decode(&message); err != nil {
			return qmpAnswer{}, fmt.Errorf("%v: %w", command["execute"], err)
		}
		switch {
		case message.Error != nil:
			return qmpAnswer{}, fmt.Errorf("%v: %s", command["execute"], message.Error.Desc)
		case message.Return != nil:
			return *message.Return, nil
		}
	}
}

// lines hands on what is written line by line.
type lines struct {
	copy io.Writer
	each func(string)

	mu      sync.Mutex
	pending []byte
	tail    []string
}

func newLines(copy io.Writer, each func(string)) *lines {
	if copy == nil {
		copy = io.Discard
	}
	return &lines{copy: copy, each: each}
}

// Write never fails.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.copy.Write(p)
	l.pending = append(l.pending, p...)
	for {
		end := bytes.IndexByte(l.pending, '\n')
		if end < 0 {
			return len(p), nil
		}
		line := strings.TrimRight(string(l.pending[:end]), "\r")
		l.pending = l.pending[end+1:]
		l.tail = append(l.tail, line)
		if len(l.tail) > tailLines {
			l.tail = l.tail[1:]
		}
		l.each(line)
	}
}

func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(append(l.tail, string(l.pending)), "\n")
}
