package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

const (
	// repairTime is how long STATUS waits for a daemon that lives to put right
	// what is wrong, which takes it milliseconds. A node that is not ready for
	// a moment is not worth telling of.
	repairTime  = 500 * time.Millisecond
	repairAgain = 10 * time.Millisecond
)

// checkNode looks for what the daemon has made and all pods of the node live by:
// the table that masquerades and guards, the tunnel, forwarding. Without the
// daemon they stay as they are, and so do pods; that nobody runs who could put
// them right is no fault as long as they are there.
func (c conf) checkNode(ctx context.Context, node statedir.Node) error {
	lost := lostOf(ctx, node)
	if lost == nil {
		return nil
	}
	state := "ropewayd, which would put it right, does not run: start it"
	if c.daemonLives(ctx) {
		if lost = awaitRepair(ctx, node); lost == nil {
			return nil
		}
		state = "ropewayd runs and has not put it right; see: ropewayctl status"
	}
	code := uint(types.ErrPluginNotAvailable)
	if c.hasPods() {
		code = types.ErrLimitedConnectivity
	}
	return failf(code, "%w; %s", lost, state)
}

// awaitRepair looks again and again and returns what is still lost at the end.
func awaitRepair(ctx context.Context, node statedir.Node) error {
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	ticker := time.NewTicker(repairAgain)
	defer ticker.Stop()
	for {
		lost := lostOf(context.WithoutCancel(ctx), node)
		if lost == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return lost
		case <-ticker.C:
		}
	}
}

// lostOf names what is not there of what the daemon made.
func lostOf(ctx context.Context, node statedir.Node) error {
	var lost []error
	found, err := kernel.HasTable(ctx)
	switch {
	case err != nil:
		lost = append(lost, err)
	case !found:
		lost = append(lost, fmt.Errorf("nftables table inet %s is gone: pods are neither masqueraded nor kept from forging addresses", kernel.TableName))
	}
	if strings.HasPrefix(node.Mode, "vxlan") || strings.HasPrefix(node.Mode, "ipip") {
		found, err = kernel.HasTunnel()
		if err == nil && !found {
			err = fmt.Errorf("the tunnel device of mode %s is gone or down: pods do not reach other nodes", node.Mode)
		}
		lost = append(lost, err)
	}
	for _, p := range node.PodCIDRs {
		sysctl := "net.ipv4.ip_forward"
		if p.Addr().Is6() {
			sysctl = "net.ipv6.conf.all.forwarding"
		}
		lost = append(lost, forwards(sysctl))
	}
	return errors.Join(lost...)
}

func forwards(sysctl string) error {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(sysctl, ".", "/"))
	if err == nil && strings.TrimSpace(string(b)) == "0" {
		err = fmt.Errorf("sysctl %s is 0: the node forwards no packet of pods", sysctl)
	}
	return err
}

// daemonLives says whether somebody listens on the daemon's socket.
func (c conf) daemonLives(ctx context.Context) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.StateDir.Socket())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// hasPods says whether any attachment is recorded.
func (c conf) hasPods() bool {
	entries, err := os.ReadDir(c.StateDir.Endpoints())
	if err != nil {
		return false
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), statedir.TempPrefix) {
			return true
		}
	}
	return false
}
