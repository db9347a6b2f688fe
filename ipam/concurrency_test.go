package ipam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// workerVariable makes the test binary a process that allocates and releases.
const workerVariable = "ROPEWAY_IPAM_TEST_WORKER"

func TestMain(m *testing.M) {
	if work := os.Getenv(workerVariable); work != "" {
		if err := worker(work); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type work struct {
	Name   string
	Config Config
	Rounds int
}

// run takes addresses in each round, gives them back in every second one, and
// returns what it still holds.
func (w work) run(ctx context.Context) (map[string][]netip.Addr, error) {
	s := Open(w.Config.Dir(), thisBoot)
	kept := map[string][]netip.Addr{}
	for i := range w.Rounds {
		id := fmt.Sprintf("%s-%d", w.Name, i)
		given, err := s.Allocate(ctx, w.Config, id, "eth0")
		if err != nil {
			return nil, err
		}
		var addrs []netip.Addr
		for _, g := range given {
			addrs = append(addrs, g.Address.Addr())
		}
		if err := s.Check(ctx, id, "eth0", addrs); err != nil {
			return nil, err
		}
		if i%2 == 0 {
			kept[id] = addrs
			continue
		}
		if freed, err := s.Release(ctx, id, "eth0", addrs...); err != nil || len(freed) != len(addrs) {
			return nil, fmt.Errorf("released %v of %v: %w", freed, addrs, err)
		}
	}
	return kept, nil
}

func worker(encoded string) error {
	var w work
	if err := json.Unmarshal([]byte(encoded), &w); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kept, err := w.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(kept)
}

func TestProcessesAndGoroutinesShareADirectory(t *testing.T) {
	const processes, goroutines, rounds = 4, 4, 10
	c := newConfig(t, "10.1.0.0/24", "fd00:1::/64")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	var mutex sync.Mutex
	holder := map[netip.Addr]string{}
	record := func(kept map[string][]netip.Addr, err error) {
		mutex.Lock()
		defer mutex.Unlock()
		if err != nil {
			t.Error(err)
		}
		for id, addrs := range kept {
			for _, a := range addrs {
				if other, ok := holder[a]; ok {
					t.Errorf("%s was given to %s and to %s", a, other, id)
				}
				holder[a] = id
			}
		}
	}
	var group sync.WaitGroup
	for i := range goroutines {
		w := work{fmt.Sprint("goroutine", i), c, rounds}
		w.Config.TrustUnique = i%2 == 0
		group.Go(func() { record(w.run(ctx)) })
	}
	for i := range processes {
		w := work{fmt.Sprint("process", i), c, rounds}
		group.Go(func() { record(inProcess(ctx, w)) })
	}
	group.Wait()

	if want := 2 * (processes + goroutines) * rounds / 2; len(holder) != want {
		t.Errorf("%d addresses are held, want %d", len(holder), want)
	}
	list, err := Open(c.Dir(), thisBoot).List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := map[netip.Addr]string{}
	for _, r := range list {
		got[r.Address] = r.ContainerID
	}
	same(t, "reservations", holder, got)
}

func inProcess(ctx context.Context, w work) (map[string][]netip.Addr, error) {
	encoded, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"="+string(encoded))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var kept map[string][]netip.Addr
	return kept, json.Unmarshal(out, &kept)
}
