package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ropeway-net/ropeway/integration/crash/disk"
)

// TestPowerCutAtAnyWriteLosesNoAddressAndStopsNoLaterCall records what the disk
// is told while pods come and go, and cuts the power at each flush and between
// them, with any part of what was not flushed lost. In the next boot every
// address can be given, once, and nothing is left in the end.
func TestPowerCutAtAnyWriteLosesNoAddressAndStopsNoLaterCall(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	for _, f := range fileSystems() {
		if _, err := exec.LookPath(f.mkfs[0]); err != nil && !every() {
			t.Logf("without %s, which is not installed", f.kind)
			continue
		}
		t.Run(f.kind, func(t *testing.T) { newReplay(t, f).run() })
	}
}

// podsOfReplay is how many pods 10.99.0.0/29 has addresses for: all but those
// of the network, of broadcasts and of the node.
const podsOfReplay = 5

func podCIDRsOfReplay() []string { return []string{"10.99.0.0/29", "fd99::/125"} }

type replay struct {
	*testing.T
	fs     fileSystem
	memory string // directory for images
	mount  string // where the file system is mounted
	boot   bootID
	node   *Node
	pods   []*Namespace
	random *rand.Rand
}

func newReplay(t *testing.T, f fileSystem) *replay {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &replay{
		T: t, fs: f, memory: inMemory(t), mount: t.TempDir(), boot: newBootID(t),
		node:   newNode(t, podCIDRsOfReplay()),
		random: rand.New(rand.NewPCG(seed, 0)),
	}
	r.node.Dir = filepath.Join(r.mount, "cni")
	for range podsOfReplay {
		r.pods = append(r.pods, newNamespace(t))
	}
	return r
}

func (r *replay) run() {
	d, from := r.record()
	cuts := r.cuts(d, from)
	for i, c := range cuts {
		way := RecoveryWays()[i%len(RecoveryWays())]
		r.boot.is(r.T, fmt.Sprint("boot-after-cut-", i))
		if err := r.recover(d.Cut(c.events, c.survives), fmt.Sprint("cut", i), way); err != nil {
			r.Fatalf("power cut %d, after event %d of %d (%s), recovery by %s: %v", i, c.events, d.Events(), c.name, way, err)
		}
		if i%100 == 99 {
			r.Logf("%d power cuts", i+1)
		}
	}
	r.Logf("%s: recovered from %d power cuts in %d events with %d flushes", r.fs.kind, len(cuts), d.Events(), len(d.Flushes()))
}

// record lets pods come and go, and returns the disk and the number of events
// before the first of them.
func (r *replay) record() (d *disk.Disk, from int) {
	r.boot.is(r.T, "boot-that-is-recorded")
	d = r.fs.make(r.T, r.memory)
	path := filepath.Join(r.memory, "recorded")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		r.Fatal(err)
	}
	file, err := disk.Mount(d, path)
	if err != nil {
		r.Fatal(err)
	}
	defer func() {
		if err = file.Close(); err != nil {
			r.Error(err)
		}
	}()
	unmount, err := disk.Loop(path, r.mount, r.fs.kind)
	if err != nil {
		r.Fatal(err)
	}
	defer func() {
		if err := unmount(); err != nil {
			r.Error(err)
		}
	}()
	from = d.Events()
	rounds := 2
	if every() {
		rounds = 12
	}
	if err := (Workload{Node: r.node, Pods: r.pods, Prefix: "recorded", Log: filepath.Join(r.mount, "log")}).Run(r.Context(), rounds); err != nil {
		r.Fatal(err)
	}
	return d, from
}

// cut is a moment and what survives it.
type cut struct {
	events   int
	name     string
	survives disk.Policy
}

// cuts are those at each flush, where nothing else survives, and four at
// other moments for each; or a sample of them.
func (r *replay) cuts(d *disk.Disk, from int) []cut {
	var all []cut
	for _, flush := range d.Flushes() {
		if flush < from {
			continue
		}
		all = append(all, cut{flush + 1, "at a flush", disk.None}, cut{flush, "before a flush, all written", disk.All}, cut{flush, "before a flush, some written", disk.Some(r.random)})
	}
	for range len(all) {
		moment := from + r.random.IntN(d.Events()-from) + 1
		all = append(all, cut{moment, "some written", disk.Some(r.random)})
	}
	r.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	most := r.fs.cuts
	if !every() {
		most = 24
	}
	return all[:min(len(all), most)]
}

func (r *replay) recover(d *disk.Disk, prefix, way string) error {
	return r.mounted(d, func() error {
		return Recovery{r.node, r.pods, prefix}.Run(r.Context(), way)
	})
}

// inspect tells whether there is anything of an attachment on a disk.
func (r *replay) inspect(d *disk.Disk) (left bool, err error) {
	err = r.mounted(d, func() error {
		files, listing := r.node.Files()
		left = len(files) > 0
		return listing
	})
	return left, err
}

// mounted does something while a copy of the disk is mounted.
func (r *replay) mounted(d *disk.Disk, do func() error) (err error) {
	path := filepath.Join(r.memory, "image")
	if err = d.WriteFile(path); err != nil {
		return err
	}
	unmount, err := disk.Loop(path, r.mount, r.fs.kind)
	if err != nil {
		return err
	}
	defer func() {
		if unmountErr := unmount(); err == nil {
			err = unmountErr
		}
	}()
	return do()
}
