package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"

	"github.com/ropeway-net/ropeway/integration/lab"
	"github.com/ropeway-net/ropeway/kernel"
)

func podCommands() map[string]command {
	return map[string]command{
		"attach": attach, "detach": detach, "check": check, "cni-status": cniStatus,
		"attach-many": attachMany, "detach-many": detachMany,
		"nothing-attached": nothingAttached, "nothing-of": nothingOf,
	}
}

// attach NODE POD…: namespaces attached by CNI ADD.
func attach(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "attach NODE POD…", 2, -1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	for _, name := range args[1:] {
		p, err := n.AttachPod(ctx, name)
		if err != nil {
			return "", describe(err)
		}
		if err := p.Check(ctx); err != nil {
			return "", describe(err)
		}
	}
	return "", nil
}

// describe adds a CNI error's code to its text.
func describe(err error) error {
	var cniErr *types.Error
	if !errors.As(err, &cniErr) {
		return err
	}
	return fmt.Errorf("%w (code %d)", err, cniErr.Code)
}

// detach POD…: CNI DEL, twice as runtimes do, and the namespace goes.
func detach(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "detach POD…", 1, -1); err != nil {
		return "", err
	}
	for _, name := range args {
		p := w.lab.Pod(name)
		if p == nil {
			return "", fmt.Errorf("%s is no pod", name)
		}
		if err := errors.Join(p.Del(ctx), p.Detach(ctx)); err != nil {
			return "", err
		}
	}
	return "", nil
}

// check POD…: CNI CHECK.
func check(ctx context.Context, w *world, args []string) (string, error) {
	for _, name := range args {
		p := w.lab.Pod(name)
		if p == nil {
			return "", fmt.Errorf("%s is no pod", name)
		}
		if err := p.Check(ctx); err != nil {
			return "", describe(err)
		}
	}
	return "", want(args, "check POD…", 1, -1)
}

// cni-status NODE: CNI STATUS.
func cniStatus(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "cni-status NODE", 1, 1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	if err := n.CheckStatus(ctx); err != nil {
		return "", describe(err)
	}
	return "", nil
}

// attach-many NODE COUNT PARALLEL: pods many-1, many-2 and so on, that many at a
// time.
func attachMany(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "attach-many NODE COUNT PARALLEL", 3, 3); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	count, countErr := strconv.Atoi(args[1])
	slots, slotsErr := strconv.Atoi(args[2])
	if err := errors.Join(countErr, slotsErr); err != nil {
		return "", err
	}
	work := make([]func() error, count)
	for i := range work {
		work[i] = func() error {
			_, err := n.AttachPod(ctx, "many-"+strconv.Itoa(i+1))
			return err
		}
	}
	return "", inParallel(slots, work)
}

// detach-many NODE PARALLEL: every pod of the node.
func detachMany(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "detach-many NODE PARALLEL", 2, 2); err != nil {
		return "", err
	}
	slots, err := strconv.Atoi(args[1])
	if err != nil {
		return "", err
	}
	var work []func() error
	for _, p := range w.lab.Pods() {
		if p.Node.Name == args[0] {
			work = append(work, func() error { return p.Detach(ctx) })
		}
	}
	return "", inParallel(slots, work)
}

func inParallel(slots int, work []func() error) error {
	var mu sync.Mutex
	var errs []error
	var group sync.WaitGroup
	free := make(chan struct{}, slots)
	for _, do := range work {
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			err := do()
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// nothing-attached NODE: no record, reservation, link or route of any pod.
func nothingAttached(_ context.Context, w *world, args []string) (string, error) {
	return "", w.eachNode(args, func(n *lab.Node) error {
		left, err := filesOf(n, "")
		if err != nil {
			return err
		}
		links, err := podLinks(n)
		left = append(left, links...)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left behind: %s", strings.Join(left, ", "))
		}
		return err
	})
}

// nothing-of POD…: no file on any node names it.
func nothingOf(_ context.Context, w *world, args []string) (string, error) {
	for _, name := range args {
		for _, n := range w.lab.Nodes() {
			left, err := filesOf(n, "-"+name+"-")
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("left behind of %s: %s", name, strings.Join(left, ", "))
			}
			if err != nil {
				return "", err
			}
		}
	}
	return "", nil
}

// filesOf lists endpoint records and reservations of a node whose content
// names an attachment; the allocator's own files hold no container ID.
func filesOf(n *lab.Node, attachment string) ([]string, error) {
	var found []string
	for _, dir := range []string{n.StateDir().Endpoints(), n.NetworksDir()} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !isOfPod(d.Name()) {
				return err
			}
			content, err := os.ReadFile(path)
			if strings.Contains(string(content), attachment) {
				found = append(found, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return found, nil
}

func isOfPod(name string) bool {
	return name != "lock" && name != "boot_id" && !strings.HasPrefix(name, "last_reserved_ip")
}

// podLinks are the names of host ends on a node.
func podLinks(n *lab.Node) (names []string, err error) {
	err = eachLink(n, kernel.PodLinkPrefix, func(_ *netlink.Handle, link netlink.Link) error {
		names = append(names, link.Attrs().Name)
		return nil
	})
	return names, err
}

// eachLink calls fn for the links of a node whose names begin with prefix.
func eachLink(n *lab.Node, prefix string, fn func(*netlink.Handle, netlink.Link) error) error {
	return n.Netlink(func(h *netlink.Handle) error {
		links, err := lab.Dump(h.LinkList)
		errs := []error{err}
		for _, link := range links {
			if strings.HasPrefix(link.Attrs().Name, prefix) {
				errs = append(errs, fn(h, link))
			}
		}
		return errors.Join(errs...)
	})
}

// raiseLinkMTU makes both ends of a pod's link take larger packets, and returns
// what makes them as before.
func raiseLinkMTU(p *lab.Pod, mtu int) (restore func() error, err error) {
	host := ""
	for _, i := range p.Result.Interfaces {
		if i.Sandbox == "" {
			host = i.Name
		}
	}
	before := 0
	set := func(to int) error {
		inner := p.Netlink(func(h *netlink.Handle) error { return setMTU(h, lab.PodLink, to, &before) })
		return errors.Join(inner, p.Node.Netlink(func(h *netlink.Handle) error { return setMTU(h, host, to, new(int)) }))
	}
	err = set(mtu)
	original := before
	return func() error { return set(original) }, err
}

func setMTU(h *netlink.Handle, name string, mtu int, before *int) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	*before = link.Attrs().MTU
	return h.LinkSetMTU(link, mtu)
}
