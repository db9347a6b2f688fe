package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/containernetworking/cni/pkg/types"
)

// Recovery is what happens on a node after a power cut: another boot, in which
// the kernel knows of no pod, and the files are what the disk kept of them.
type Recovery struct {
	Node *Node
	// Pods are as many namespaces as the node has addresses for pods.
	Pods []*Namespace
	// Prefix begins the container IDs of this boot.
	Prefix string
}

// RecoveryWays are the ways in which a node may go on. In each of them nothing
// that the earlier boot left may be in the way of as many pods as there are
// addresses, and nothing may be left at the end.
func RecoveryWays() []string { return []string{"ADD", "DEL", "GC", "the same ADD"} }

// Run recovers in one of the ways.
func (r Recovery) Run(ctx context.Context, way string) error {
	stale, err := r.Node.stale()
	if err != nil {
		return err
	}
	if err = r.Node.Status(ctx); err != nil {
		return fmt.Errorf("the node is not ready: %w", err)
	}
	switch way {
	case "ADD":
		return r.fill(ctx, r.fresh(), stale)
	case "DEL":
		err = r.del(ctx, stale)
	case "GC":
		err = r.gc(ctx)
	case "the same ADD":
		return r.fill(ctx, r.again(stale), nil)
	default:
		return fmt.Errorf("there is no recovery by %q", way)
	}
	if err != nil {
		return err
	}
	return r.fill(ctx, r.fresh(), nil)
}

// fresh are attachments of containers that no earlier boot had.
func (r Recovery) fresh() []Attachment {
	var all []Attachment
	for i, pod := range r.Pods {
		all = append(all, Attachment{ID: fmt.Sprint(r.Prefix, "-new-", i), Netns: pod.Path, HostPort: firstPort + i})
	}
	return all
}

// again are attachments of the containers of the earlier boot, and fresh ones
// where there were not enough.
func (r Recovery) again(stale []string) []Attachment {
	all := r.fresh()
	for i := range all[:min(len(all), len(stale))] {
		all[i].ID = stale[i]
	}
	return all
}

// fill attaches as many pods as there are addresses, and no more. A DEL of an
// earlier boot's container that comes late takes nothing from them.
func (r Recovery) fill(ctx context.Context, all []Attachment, late []string) error {
	results := make([][]byte, len(all))
	addresses := make([][]string, len(all))
	err := atOnce(len(all), func(i int) (err error) {
		results[i], addresses[i], err = r.Node.Add(ctx, all[i])
		return err
	})
	if err != nil {
		return err
	}
	want := map[string]string{}
	for i, a := range all {
		if len(addresses[i]) != len(r.Node.PodCIDRs) {
			return fmt.Errorf("%s has the addresses %v", a.ID, addresses[i])
		}
		for _, address := range addresses[i] {
			if want[address] != "" {
				return fmt.Errorf("%s is held by %s and by %s", address, want[address], a.ID)
			}
			want[address] = a.ID
		}
	}
	if err := r.wantFull(ctx); err != nil {
		return err
	}
	if err := r.del(ctx, late); err != nil {
		return err
	}
	if err := r.wantHeld(want); err != nil {
		return err
	}
	if err := r.Node.Check(ctx, all[0], results[0]); err != nil {
		return err
	}
	return r.empty(ctx, all)
}

// wantHeld compares the allocator's files with who has which address.
func (r Recovery) wantHeld(want map[string]string) error {
	dir := filepath.Join(r.Node.Dir, "networks", networkName)
	for address, id := range want {
		b, err := os.ReadFile(filepath.Join(dir, address))
		if err != nil {
			return fmt.Errorf("%s was given to %s: %w", address, id, err)
		}
		if string(b) != id+"\r\neth0" {
			return fmt.Errorf("%s was given to %s, and is held by %q", address, id, b)
		}
	}
	return nil
}

// atOnce does n things at the same time and returns all errors.
func atOnce(n int, do func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// wantFull wants one more attachment to be refused, and to leave nothing.
func (r Recovery) wantFull(ctx context.Context) error {
	// The namespace is another pod's, whose interface has another name there.
	_, err := r.Node.call(ctx, "ADD", Attachment{ID: r.Prefix + "-one-too-many", Netns: r.Pods[0].Path, ifName: "eth1"}, r.Node.conf(Attachment{}, nil))
	var said *types.Error
	if !errors.As(err, &said) || !strings.Contains(said.Msg+said.Details, "is full") {
		return fmt.Errorf("one more pod than there are addresses was not refused as such: %w", orNil(err))
	}
	return nil
}

var errNone = errors.New("no error")

func orNil(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// empty takes the pods away, the first by DEL and the others by GC.
func (r Recovery) empty(ctx context.Context, all []Attachment) error {
	if err := r.Node.Del(ctx, all[0]); err != nil {
		return err
	}
	return r.gc(ctx)
}

func (r Recovery) del(ctx context.Context, ids []string) error {
	return atOnce(len(ids), func(i int) error { return r.Node.Del(ctx, Attachment{ID: ids[i]}) })
}

func (r Recovery) gc(ctx context.Context) error {
	if err := r.Node.GC(ctx); err != nil {
		return err
	}
	left, err := r.Node.Files()
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left behind: %q", left)
	}
	return err
}

// safeID is what a container ID is made of.
var safeID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// stale lists the containers that files of an earlier boot name, and one that
// they do not.
func (n *Node) stale() ([]string, error) {
	files, err := n.Files()
	if err != nil {
		return nil, err
	}
	ids := []string{"nobody"}
	for _, file := range files {
		path := filepath.Join(n.Dir, strings.TrimPrefix(file, "file "))
		name := strings.TrimPrefix(filepath.Base(path), ".tmp-")
		id, isRecord := strings.CutSuffix(name, "-eth0.json")
		if !isRecord {
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			line, _, _ := bytes.Cut(b, []byte("\r\n"))
			id = string(line)
		}
		if safeID.MatchString(id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
