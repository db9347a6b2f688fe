package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/plugins/protocol"
)

// delegate is another IPAM plugin. It is executed here and not by the CNI
// project's invoke package because that links a tracing library, which would
// make up a part of each start, and waits for a plugin's children without end.
type delegate struct {
	kind    string // ipam.type
	netconf []byte
	args    *protocol.Args
}

func (d delegate) allocate(ctx context.Context) (lease, error) {
	out, err := d.run(ctx, "ADD")
	if err != nil {
		return lease{}, errors.Join(err, d.clearFailed(ctx))
	}
	l, err := parseLease(d.netconf, out)
	if err != nil {
		err = failf(codeDelegate, "result of IPAM plugin %s: %w", d.kind, err)
		return lease{}, errors.Join(err, d.clearFailed(ctx))
	}
	return l, nil
}

// clearFailed calls DEL after a failed ADD, as the specification asks. What a
// plugin that failed to add says about deleting is worth reporting only when
// it may have kept something.
func (d delegate) clearFailed(ctx context.Context) error {
	if _, err := d.find(); err != nil {
		return nil
	}
	return d.release(ctx)
}

func (d delegate) release(ctx context.Context) error {
	_, err := d.run(ctx, "DEL")
	return err
}

func (d delegate) check(ctx context.Context, _ []netip.Addr) error {
	_, err := d.run(ctx, "CHECK")
	return err
}

func (d delegate) record() endpoint.IPAM {
	return endpoint.IPAM{Type: d.kind, Config: json.RawMessage(d.netconf)}
}

// withPresentResult is a configuration of ADD with the prevResult of now: the
// specification gives a delegate all that its caller got, and what the
// administrator has changed since must not keep it from finding its state.
func withPresentResult(config, now []byte) []byte {
	var keys map[string]json.RawMessage
	var sent struct {
		PrevResult json.RawMessage `json:"prevResult"`
	}
	if json.Unmarshal(config, &keys) != nil || json.Unmarshal(now, &sent) != nil || sent.PrevResult == nil {
		return config
	}
	keys["prevResult"] = sent.PrevResult
	whole, err := json.Marshal(keys)
	if err != nil {
		return config
	}
	return whole
}

// run executes a verb of the plugin. Its own error keeps its code.
func (d delegate) run(ctx context.Context, verb string) ([]byte, error) {
	path, err := d.find()
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = append(os.Environ(),
		"CNI_COMMAND="+verb, "CNI_CONTAINERID="+d.args.ContainerID, "CNI_NETNS="+d.args.Netns,
		"CNI_IFNAME="+d.args.IfName, "CNI_ARGS="+d.args.Args, "CNI_PATH="+d.args.Path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(d.netconf), &stdout, io.MultiWriter(os.Stderr, &stderr)
	cmd.WaitDelay = time.Second // children of a killed plugin may hold the pipes
	if err = cmd.Run(); err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		return nil, failf(types.ErrTryAgainLater, "IPAM plugin %s did not finish %s in time: %w", d.kind, verb, ctx.Err())
	}
	return nil, d.failure(verb, err, stdout.Bytes(), stderr.Bytes())
}

func (d delegate) failure(verb string, err error, stdout, stderr []byte) error {
	var own types.Error
	if json.Unmarshal(stdout, &own) == nil && own.Code != 0 {
		return fmt.Errorf("IPAM plugin %s, %s: %w", d.kind, verb, &own)
	}
	said := strings.TrimSpace(string(stdout) + " " + string(stderr))
	return failf(codeDelegate, "IPAM plugin %s, %s: %w; it said %q", d.kind, verb, err, said)
}

func (d delegate) find() (string, error) {
	if d.kind == "." || d.kind == ".." || strings.ContainsRune(d.kind, filepath.Separator) {
		return "", failf(types.ErrInvalidNetworkConfig, "ipam.type %q is no plugin's name; it must be a file name without a directory", d.kind)
	}
	for _, dir := range filepath.SplitList(d.args.Path) {
		path := filepath.Join(dir, d.kind)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		// It would call itself without end.
		if own, err := os.Stat("/proc/self/exe"); err == nil && os.SameFile(own, info) {
			return "", failf(types.ErrInvalidNetworkConfig, "ipam.type %q is this plugin itself; write %q or the name of another IPAM plugin", d.kind, inProcess)
		}
		return path, nil
	}
	return "", failf(types.ErrInvalidNetworkConfig, "IPAM plugin %q is not in CNI_PATH %s; install it there, or write ipam.type %q", d.kind, d.args.Path, inProcess)
}

// parseLease reads the result of an IPAM plugin of any version.
func parseLease(netconf, out []byte) (lease, error) {
	version, err := create.DecodeVersion(out)
	if err == nil && !bytes.Contains(out, []byte(`"cniVersion"`)) {
		version, err = create.DecodeVersion(netconf)
	}
	if err == nil {
		err = protocol.RefuseNulls(out)
	}
	if err != nil {
		return lease{}, err
	}
	raw, err := create.Create(version, out)
	if err != nil {
		return lease{}, err
	}
	result, err := types100.NewResultFromResult(raw)
	if err != nil {
		return lease{}, err
	}
	l := lease{DNS: result.DNS}
	for _, ip := range result.IPs {
		addr := addrOf(ip.Address.IP)
		if !addr.IsValid() || addr.IsUnspecified() {
			return lease{}, fmt.Errorf("address %q is none that a pod can have", ip.Address.IP)
		}
		l.Addresses = append(l.Addresses, addr)
	}
	if len(l.Addresses) == 0 {
		return lease{}, errors.New("it names no address")
	}
	for _, r := range result.Routes {
		dst, err := prefixOf(r.Dst)
		if err != nil {
			return lease{}, err
		}
		l.Routes = append(l.Routes, dst)
	}
	return l, nil
}

// addrOf is ip, or the zero Addr where it is none.
func addrOf(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

func prefixOf(n net.IPNet) (netip.Prefix, error) {
	ones, size := n.Mask.Size()
	addr := addrOf(n.IP)
	if !addr.IsValid() || size != addr.BitLen() {
		return netip.Prefix{}, fmt.Errorf("route to %s is no prefix", n.String())
	}
	return netip.PrefixFrom(addr, ones).Masked(), nil
}
