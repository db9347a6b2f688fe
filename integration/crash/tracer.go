package crash

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is a system call that a traced process was about to make.
type Call struct {
	Number uint64
	// Own says that the call changes nothing outside of the process: its
	// memory, its threads, its signals.
	Own bool
}

// waits are the calls with which the Go runtime waits for its own threads. How
// often it does depends on the scheduler, so they are no points in a program.
func waits() []uint64 {
	return []uint64{
		unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_EPOLL_PWAIT,
		unix.SYS_TGKILL, unix.SYS_RT_SIGRETURN, unix.SYS_RESTART_SYSCALL, unix.SYS_MADVISE,
	}
}

// own are the calls that only concern the process itself.
func own() []uint64 {
	return []uint64{
		unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_BRK, unix.SYS_PRCTL,
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_SIGALTSTACK,
		unix.SYS_CLONE, unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_SCHED_GETAFFINITY,
		unix.SYS_PRLIMIT64, unix.SYS_EXIT, unix.SYS_FCNTL, unix.SYS_GETRANDOM, unix.SYS_UNAME,
	}
}

// Program is what is traced.
type Program struct {
	Path  string
	Env   []string
	Stdin *os.File
}

// Trace runs the program on the calling thread, which must be locked, and asks
// at each system call, before it takes effect, whether to kill the program. It
// tells whether it did; a program that was not killed and failed is an error.
func Trace(p Program, kill func(Call) bool) (killed bool, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return false, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(p.Path, []string{p.Path}, &syscall.ProcAttr{
		Env:   p.Env,
		Files: []uintptr{p.Stdin.Fd(), null.Fd(), null.Fd()},
		Sys:   &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return false, fmt.Errorf("trace %s: %w", p.Path, err)
	}
	t := &tracer{leader: pid, kill: kill, traced: map[int]bool{}}
	if err := t.run(); err != nil {
		return false, errors.Join(fmt.Errorf("trace %s: %w", p.Path, err), t.end())
	}
	return t.killed, t.failure()
}

type tracer struct {
	leader int
	kill   func(Call) bool
	traced map[int]bool // threads that have stopped for the first time
	killed bool
	status unix.WaitStatus // of the leader, once it has ended
}

func (t *tracer) run() error {
	for {
		var status unix.WaitStatus
		// Only children of this thread: others belong to other goroutines.
		pid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if status.Exited() || status.Signaled() {
			if pid == t.leader {
				t.status = status
				return nil
			}
			continue
		}
		if err := t.stopped(pid, status); err != nil {
			return err
		}
	}
}

// stopped lets a thread go on, or kills the program.
func (t *tracer) stopped(pid int, status unix.WaitStatus) error {
	signal := 0
	switch {
	case !t.traced[pid]:
		t.traced[pid] = true
		if pid == t.leader {
			err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL)
			if err != nil {
				return err
			}
		}
	case status.StopSignal() == unix.SIGTRAP|0x80:
		if err := t.call(pid); err != nil {
			return err
		}
	case status.StopSignal() != unix.SIGTRAP: // which only reports new threads
		signal = int(status.StopSignal())
	}
	// A thread that another one killed meanwhile is gone.
	if err := unix.PtraceSyscall(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// syscallInfo is struct ptrace_syscall_info at the entry of a call, ptrace(2).
type syscallInfo struct {
	op     uint8
	_      [3]uint8
	_      uint32
	_, _   uint64
	number uint64
	_      [6]uint64
}

func (t *tracer) call(pid int) error {
	var info syscallInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(pid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno == unix.ESRCH {
		return nil
	}
	if errno != 0 {
		return errno
	}
	if info.op != unix.PTRACE_SYSCALL_INFO_ENTRY || t.killed || slices.Contains(waits(), info.number) {
		return nil
	}
	if !t.kill(Call{Number: info.number, Own: slices.Contains(own(), info.number)}) {
		return nil
	}
	t.killed = true
	return unix.Kill(t.leader, unix.SIGKILL)
}

// end kills what is left after an error.
func (t *tracer) end() error {
	if t.status.Exited() || t.status.Signaled() {
		return nil
	}
	_ = unix.Kill(t.leader, unix.SIGKILL)
	for {
		pid, err := unix.Wait4(-1, nil, unix.WALL|unix.WNOTHREAD, nil)
		if err != nil && !errors.Is(err, unix.EINTR) || pid == t.leader {
			return err
		}
	}
}

func (t *tracer) failure() error {
	switch {
	case t.killed && t.status.Signaled():
		return nil
	case t.killed:
		return fmt.Errorf("the program ended with %d although it was killed", t.status.ExitStatus())
	case t.status.Signaled():
		return fmt.Errorf("the program was killed by %v", t.status.Signal())
	case t.status.ExitStatus() != 0:
		return fmt.Errorf("the program ended with %d", t.status.ExitStatus())
	}
	return nil
}
