package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// Pods says what Cleanup does about pods that are attached.
type Pods string

// What Cleanup may do about attached pods.
const (
	RefusePods Pods = "refuse" // it does nothing and names them
	DetachPods Pods = "detach" // it cuts them off: links, reservations, records
)

// Cleanup removes every trace of Ropeway from the node: first the CNI
// configuration, so that no pod arrives meanwhile, then what the kernel holds,
// then the files. It goes on after errors and may be called again.
func Cleanup(ctx context.Context, cfg Config, k kernel.Kernel, pods Pods) error {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	snapshot, err := k.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("read the kernel: %w", err)
	}
	store := endpoint.Store{Dir: cfg.StateDir.Endpoints()}
	records, recordsErr := store.List()
	if names := attached(cfg, snapshot, records); len(names) > 0 && pods != DetachPods {
		return fmt.Errorf("%d pods are attached: %s; stop them first, or use --force to cut them off", len(names), strings.Join(names, ", "))
	}
	errs := []error{statedir.Remove(cfg.Conflist.Path())}

	memory, err := readSysctls(cfg.StateDir, cfg.BootID)
	errs = append(errs, err)
	errs = append(errs, k.Apply(ctx, cleanupPlan(snapshot, memory)))

	for _, r := range records {
		errs = append(errs, release(ctx, cfg, r), store.Remove(r.ContainerID, r.IfName))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w; the state files stay, repeat cleanup when this is repaired", errors.Join(err, recordsErr))
	}
	return removeFiles(ctx, cfg, pods)
}

// attached names the pods that would lose their network: those with a record
// and a link, and links without a record.
func attached(cfg Config, snapshot kernel.Snapshot, records []endpoint.Record) []string {
	unknown := maps.Clone(snapshot.PodLinks)
	var names []string
	for _, r := range records {
		if _, linked := unknown[r.HostLink]; !linked || r.BootID != cfg.BootID {
			continue
		}
		delete(unknown, r.HostLink)
		if r.Pod.Name != "" {
			names = append(names, r.Pod.Namespace+"/"+r.Pod.Name)
		} else {
			names = append(names, "container "+r.ContainerID)
		}
	}
	for link := range unknown {
		names = append(names, "link "+link)
	}
	slices.Sort(names)
	return names
}

// cleanupPlan deletes all that is Ropeway's, pod links included, and gives
// sysctls back their values.
func cleanupPlan(snapshot kernel.Snapshot, memory sysctlMemory) kernel.Plan {
	plan := kernel.Diff(snapshot.State, kernel.State{Sysctls: memory.restored(snapshot.State.Sysctls)})
	for _, link := range slices.Sorted(maps.Keys(snapshot.PodLinks)) {
		plan.Ops = append(plan.Ops, kernel.LinkDel{Name: link})
	}
	return plan
}

// release gives a pod's addresses back. An allocator that is another program
// is called on the container's DEL, which still works without the record.
func release(ctx context.Context, cfg Config, r endpoint.Record) error {
	if r.IPAM.Type != "ropeway-ipam" {
		return nil
	}
	dir := r.IPAM.DataDir
	if dir == "" {
		dir = cfg.Conflist.NetworksDir
	}
	_, err := ipam.Open(filepath.Join(dir, r.Network), cfg.BootID).Release(ctx, r.ContainerID, r.IfName, r.Addresses...)
	return err
}

// removeFiles removes the state, directories only when they are empty then:
// somebody else may keep files there.
func removeFiles(ctx context.Context, cfg Config, pods Pods) error {
	dir := cfg.StateDir
	var errs []error
	files := []string{dir.NodeFile(), dir.PeersFile(), dir.SysctlsFile(), dir.ConfigFile(), dir.FreedFile(), dir.Socket(), dir.RequestsSocket()}
	for _, path := range append(files, dir.RetiredSockets()...) {
		errs = append(errs, statedir.Remove(path))
	}
	errs = append(errs, os.RemoveAll(dir.Log()), removeNetwork(ctx, cfg, pods))
	for _, d := range []string{dir.Endpoints(), cfg.Conflist.NetworksDir, string(dir)} {
		removeTemp(d)
		_ = os.Remove(d) // fails while something is in it
	}
	return errors.Join(errs...)
}

// removeNetwork removes the network's directory of reservations unless one is
// still held. After all pods have been cut off none can be: what is left
// belongs to a record that was lost.
func removeNetwork(ctx context.Context, cfg Config, pods Pods) error {
	network := filepath.Join(cfg.Conflist.NetworksDir, cfg.Conflist.Network)
	if pods == DetachPods {
		return os.RemoveAll(network)
	}
	held, err := ipam.Open(network, cfg.BootID).List(ctx)
	if err != nil || len(held) > 0 {
		return err
	}
	return os.RemoveAll(network)
}

// removeTemp removes what a crash left while a file was written.
func removeTemp(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, statedir.TempPrefix+"*"))
	for _, path := range found {
		_ = os.Remove(path)
	}
}
