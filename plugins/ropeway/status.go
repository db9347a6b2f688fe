package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// status says whether an ADD would succeed now and its pod be reachable, with
// the reason if not: code 50, or 51 when that is true of running pods, too.
func (p plugin) status(ctx context.Context, args *protocol.Args) error {
	c, err := parseConf(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	bootID, err := statedir.BootID()
	if err != nil {
		return err
	}
	node, err := c.nodeFacts(bootID)
	if err != nil {
		return unavailable(err)
	}
	if !c.standalone() {
		if err = c.checkNode(ctx, node); err != nil {
			return err
		}
	}
	if err = writable(string(c.StateDir)); err != nil {
		return unavailable(err)
	}
	if err = c.checkKernel(ctx); err != nil {
		return unavailable(err)
	}
	if c.IPAMType != inProcess {
		_, err = delegate{kind: c.IPAMType, netconf: c.raw, args: args}.run(ctx, "STATUS")
		return err
	}
	cfg, err := ipam.ParseConfig(c.raw, args.Args, node.PodCIDRs)
	if err != nil {
		return err
	}
	if hasIPv6(cfg.RangeSets) {
		if err = kernel.HasIPv6(); err != nil {
			return unavailable(err)
		}
	}
	if err := ipam.Open(cfg.Dir(), bootID).Ready(ctx, cfg); err != nil {
		return unavailable(err)
	}
	return nil
}

func unavailable(err error) error {
	return failf(types.ErrPluginNotAvailable, "%w", statedir.Explain(err))
}

// checkKernel looks for what every ADD needs of the kernel, and, where the
// runtime may ask for host ports, for what these need.
func (c conf) checkKernel(ctx context.Context) error {
	if err := kernel.CanLinkPods(); err != nil {
		return err
	}
	if !c.hasCapability("portMappings") {
		return nil
	}
	if _, err := kernel.HasTable(ctx); err != nil {
		return fmt.Errorf("host ports: %w", err)
	}
	return nil
}

// hasCapability says whether the configuration announces a capability.
func (c conf) hasCapability(name string) bool {
	var doc struct {
		Capabilities map[string]any `json:"capabilities"`
	}
	if err := json.Unmarshal(c.raw, &doc); err != nil {
		return false // of another type; the runtime takes it for none, too
	}
	for key, value := range doc.Capabilities {
		if strings.EqualFold(key, name) && value != false {
			return true
		}
	}
	return false
}

func hasIPv6(sets []ipam.RangeSet) bool {
	return slices.ContainsFunc(sets, func(s ipam.RangeSet) bool {
		return slices.ContainsFunc(s, func(r ipam.Range) bool { return r.Subnet.Addr().Is6() })
	})
}

// writable tries what ADD will do in dir, or in the nearest directory above
// that exists: a full or read-only file system shows in no other way. The file
// has one name for all, so that a STATUS that is killed leaves no more than one,
// which the next takes away.
func writable(dir string) error {
	for {
		f, err := os.OpenFile(filepath.Join(dir, statedir.TempPrefix+"status"), os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		_, err = f.WriteString("status\n")
		err = errors.Join(err, f.Close())
		if removeErr := os.Remove(f.Name()); !errors.Is(removeErr, fs.ErrNotExist) { // another STATUS was faster
			err = errors.Join(err, removeErr)
		}
		if err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		return nil
	}
}
