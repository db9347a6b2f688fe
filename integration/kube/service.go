package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// service is a program that process 1 of a machine keeps running.
type service struct {
	Name string   `json:"name"` // unique on the machine
	Args []string `json:"args"` // program first, absolute
}

// down is the file whose presence keeps a service from being started.
func (s service) down(dir string) string { return filepath.Join(dir, s.Name+".down") }

// pidFile holds the process id as the machine sees it.
func (s service) pidFile(dir string) string { return filepath.Join(dir, s.Name+".pid") }

// restDelay is how long a service that ended stays ended.
const restDelay = 200 * time.Millisecond

// supervise keeps the services running and reaps every process that the
// machine has lost the parent of. It never returns.
func supervise(dir string, services []service) {
	var mu sync.Mutex
	own := map[int]chan struct{}{} // closed when the process has been reaped
	for _, s := range services {
		go func() {
			for {
				if _, err := os.Stat(s.down(dir)); err == nil {
					time.Sleep(restDelay)
					continue
				}
				done := make(chan struct{})
				mu.Lock() // the reaper must not see the child before it is known
				pid, err := s.start(dir)
				if err == nil {
					own[pid] = done
				}
				mu.Unlock()
				if err == nil {
					<-done
				} else {
					fmt.Fprintf(os.Stderr, "%s: %v\n", s.Name, err)
				}
				time.Sleep(restDelay)
			}
		}()
	}
	for {
		var info unix.Siginfo
		// WNOWAIT leaves the zombie, so that its id is not used again before
		// the lock is held.
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.ECHILD) {
			time.Sleep(restDelay)
			continue
		}
		mu.Lock()
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == nil && pid > 0 {
			if done, ok := own[pid]; ok {
				close(done)
				delete(own, pid)
			}
		}
		mu.Unlock()
	}
}

func (s service) start(dir string) (pid int, err error) {
	log, err := os.OpenFile(filepath.Join(dir, s.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.Background(), s.Args[0], s.Args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid = cmd.Process.Pid
	// Not Wait: the reaper does it.
	return pid, os.WriteFile(s.pidFile(dir), fmt.Appendf(nil, "%d\n", pid), 0o600)
}

// writeServices and readServices hand the list to process 1.
func writeServices(dir string, services []service) error {
	b, err := json.MarshalIndent(services, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "services.json"), b, 0o600)
}

func readServices(dir string) ([]service, error) {
	b, err := os.ReadFile(filepath.Join(dir, "services.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var services []service
	return services, json.Unmarshal(b, &services)
}
