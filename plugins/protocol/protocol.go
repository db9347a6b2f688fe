// Package protocol is what Ropeway's plugins share of the CNI protocol: how
// they start and fail, and the runtime's list of attachments that GC is to keep.
package protocol

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// Main runs the verb that the environment names and ends the process with code
// 1 if it fails, its error on standard output.
func Main(verbs skel.CNIFuncs, about string) {
	MainAs(verbs, version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0"), about)
}

// MainAs is [Main] of a plugin that speaks other versions of the specification.
func MainAs(verbs skel.CNIFuncs, versions version.PluginInfo, about string) {
	// A runtime that went away must not kill the undoing of an ADD.
	signal.Ignore(syscall.SIGPIPE)
	// The specification has CNI_PATH as optional, skel has not.
	if os.Getenv("CNI_PATH") == "" {
		_ = os.Setenv("CNI_PATH", filepath.Dir(os.Args[0]))
	}
	reached := false
	err := skel.PluginMainFuncsWithError(marked(verbs, &reached), versions, about)
	if err == nil {
		return
	}
	if !reached {
		err = withRemedy(err)
	}
	if printErr := err.Print(); printErr != nil {
		fmt.Fprintln(os.Stderr, err, printErr)
	}
	os.Exit(1)
}

// marked notes that a verb was reached: errors before are skel's.
func marked(verbs skel.CNIFuncs, reached *bool) skel.CNIFuncs {
	mark := func(verb func(*skel.CmdArgs) error) func(*skel.CmdArgs) error {
		return func(args *skel.CmdArgs) error {
			*reached = true
			return verb(args)
		}
	}
	return skel.CNIFuncs{
		Add: mark(verbs.Add), Del: mark(verbs.Del), Check: mark(verbs.Check),
		Status: mark(verbs.Status), GC: mark(verbs.GC),
	}
}

// withRemedy says what to do about an error that skel found, which names only
// what is wrong.
func withRemedy(err *types.Error) *types.Error {
	remedies := map[uint]string{
		types.ErrIncompatibleCNIVersion:      "set cniVersion to one that the plugin supports; STATUS and GC need 1.1.0, CHECK 0.4.0",
		types.ErrInvalidEnvironmentVariables: "the runtime must set CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS and CNI_IFNAME as the CNI specification says",
		types.ErrDecodingFailure:             "the network configuration must be one JSON object; check it with: python3 -m json.tool",
		types.ErrInvalidNetworkConfig:        "the network's name must begin with a letter or digit and go on with these, '_', '.' or '-'",
	}
	if remedy, ok := remedies[err.Code]; ok {
		return types.NewError(err.Code, err.Msg+"; "+remedy, err.Details)
	}
	return err
}
