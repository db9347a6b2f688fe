package ipam

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestKilledProcessLeavesOnlyWholeReservations kills an allocating process at
// ten points of its work. What it leaves names its container, so that the DEL
// that follows frees it, and the lock is free.
func TestKilledProcessLeavesOnlyWholeReservations(t *testing.T) {
	for name, others := range map[string]int{"few others": 0, "so many that holders are linked": fewestLinked} {
		t.Run(name, func(t *testing.T) {
			c := newConfig(t, "10.1.0.0/23", "fd00:1::/64")
			s := Open(c.Dir(), thisBoot)
			for i := range others {
				allocate(t, s, c, fmt.Sprint("other", i))
			}
			before := ls(t, c)
			for i := range 10 {
				killWhileAllocating(t, work{fmt.Sprint("w", i), c, 150}, len(before), time.Duration(i)*700*time.Microsecond)

				found, err := s.dir.scan(t.Context())
				if err != nil || len(found.torn) > 0 {
					t.Fatalf("torn reservations %v, %v", found.torn, err)
				}
				for _, r := range found.held {
					if !strings.HasPrefix(r.ContainerID, "other") {
						release(t, s, r.ContainerID)
					}
				}
				id := fmt.Sprint("next", i)
				allocate(t, s, c, id) // clears what was half written
				release(t, s, id)
				same(t, "files", before, ls(t, c))
			}
		})
	}
}

// killWhileAllocating kills the worker delay after its first reservation beside
// others.
func killWhileAllocating(t *testing.T, w work, others int, delay time.Duration) {
	t.Helper()
	encoded, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"="+string(encoded))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for len(ls(t, w.Config)) <= others {
		select {
		case <-ctx.Done():
			t.Fatal("the worker reserves nothing")
		case <-time.After(time.Millisecond):
		}
	}
	<-time.After(delay)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the worker ended before it was killed")
	}
}
