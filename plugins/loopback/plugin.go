package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/plugins/protocol"
)

// Codes of our own, of docs/errors.md.
const (
	codeKernel  uint = 110 // the kernel refused a step
	codeDiffers uint = 111 // CHECK: something is not as ADD made it
)

// plugin is one run of the plugin.
type plugin struct {
	stdout io.Writer
}

func (p plugin) funcs() protocol.Verbs {
	return protocol.Verbs{Add: p.add, Del: del, Check: check, Status: nothing, GC: nothing}
}

// add sets lo up. In a chain it passes on what the plugin before it said.
func (p plugin) add(args *protocol.Args) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	netns, err := kernel.OpenPodNetns(args.Netns)
	if err != nil {
		return cniError(args, err)
	}
	defer netns.Close()
	addresses, err := netns.RaiseLoopback()
	if err != nil {
		return cniError(args, err)
	}
	var r types.Result = result(args.Netns, addresses)
	if conf.PrevResult != nil {
		r = conf.PrevResult
	}
	if r, err = r.GetAsVersion(conf.CNIVersion); err != nil {
		return types.NewError(types.ErrIncompatibleCNIVersion, fmt.Sprintf("result in version %s: %v", conf.CNIVersion, err), "")
	}
	if err := r.PrintTo(p.stdout); err != nil {
		return types.NewError(types.ErrIOFailure, fmt.Sprintf("print the result: %v", err), "")
	}
	return nil
}

// del sets lo down. A namespace that is gone has nothing to take back.
func del(args *protocol.Args) error {
	if args.Netns == "" {
		return nil
	}
	netns, err := kernel.OpenPodNetns(args.Netns)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, kernel.ErrNotNetns) {
		return nil
	}
	if err != nil {
		return cniError(args, err)
	}
	defer netns.Close()
	if err := netns.LowerLoopback(); err != nil {
		return cniError(args, err)
	}
	return nil
}

// check looks for what programs count on: lo is up and 127.0.0.1 there.
func check(args *protocol.Args) error {
	netns, err := kernel.OpenPodNetns(args.Netns)
	if err != nil {
		return cniError(args, err)
	}
	defer netns.Close()
	up, addresses, err := netns.LoopbackState()
	if err != nil {
		return cniError(args, err)
	}
	var differs []string
	if !up {
		differs = append(differs, "lo is down")
	}
	if home := netip.MustParsePrefix("127.0.0.1/8"); !slices.Contains(addresses, home) {
		differs = append(differs, "lo lacks "+home.String())
	}
	if len(differs) > 0 {
		return types.NewError(codeDiffers, fmt.Sprintf("check container %s: %s; restart the pod", args.ContainerID, strings.Join(differs, ", ")), "")
	}
	return nil
}

// nothing is STATUS, which depends on nothing, and GC: a loopback interface
// goes with its namespace.
func nothing(*protocol.Args) error { return nil }

func parseConf(stdin []byte) (types.NetConf, error) {
	var conf types.NetConf
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return conf, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("network configuration: %v; check it with: python3 -m json.tool", err), "")
	}
	if conf.CNIVersion == "" {
		conf.CNIVersion = "0.1.0" // what the specification says of a missing one
	}
	var chain struct {
		PrevResult json.RawMessage `json:"prevResult"`
	}
	err := json.Unmarshal(stdin, &chain)
	if err == nil && chain.PrevResult != nil {
		err = protocol.RefuseNulls(chain.PrevResult)
	}
	if err == nil {
		err = version.ParsePrevResult(&conf)
	}
	if err != nil {
		return conf, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("prevResult is no CNI result: %v; hand on what the plugin before printed", err), "")
	}
	return conf, nil
}

func result(netns string, addresses []netip.Prefix) *types100.Result {
	r := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{{Name: kernel.LoopbackName, Mac: "00:00:00:00:00:00", Sandbox: netns}},
	}
	for _, p := range addresses {
		r.IPs = append(r.IPs, &types100.IPConfig{
			Interface: types100.Int(0),
			Address:   net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		})
	}
	return r
}

// cniError gives err the form of the specification.
func cniError(args *protocol.Args, err error) *types.Error {
	msg := fmt.Sprintf("container %s: %v", args.ContainerID, err)
	switch {
	case errors.Is(err, kernel.ErrOwnNetns):
		return types.NewError(types.ErrInvalidNetNS, msg+"; pods of the host network need no plugin", "")
	case errors.Is(err, kernel.ErrNotNetns), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return types.NewError(types.ErrInvalidNetNS, msg+"; give the path of a namespace that exists, such as /var/run/netns/NAME", "")
	}
	return types.NewError(codeKernel, msg, "")
}
