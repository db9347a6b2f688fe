package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/statedir"
)

// status says whether an ADD would succeed now, with code 50 and the reason
// if not.
func (p plugin) status(ctx context.Context, args *skel.CmdArgs) error {
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
	if err = writable(string(c.StateDir)); err != nil {
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
	if err := ipam.Open(cfg.Dir(), bootID).Ready(ctx, cfg); err != nil {
		return unavailable(err)
	}
	return nil
}

func unavailable(err error) error {
	return failf(types.ErrPluginNotAvailable, "%w", statedir.Explain(err))
}

// writable tries what ADD will do in dir, or in the nearest directory above
// that exists: a full or read-only file system shows in no other way.
func writable(dir string) error {
	for {
		f, err := os.CreateTemp(dir, statedir.TempPrefix+"status.*")
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		_, err = f.WriteString("status\n")
		if err = errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		return nil
	}
}
