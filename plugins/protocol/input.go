package protocol

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/jsonobject"
	"github.com/ropeway-net/ropeway/statedir"
)

// maxInput bounds a network configuration, in bytes; the largest that makes
// sense holds some hundred port mappings or, for GC, some thousand attachments.
const maxInput = 1 << 20

func readInput(r io.Reader) ([]byte, *types.Error) {
	b, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, types.NewError(types.ErrIOFailure, fmt.Sprintf("read the network configuration: %v; the runtime must pass it on standard input", err), "")
	}
	if len(b) > maxInput {
		return nil, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("the network configuration is larger than %d bytes; make it smaller", maxInput), "")
	}
	return b, nil
}

// header is what a configuration says of itself, whatever else is wrong with it.
type header struct{ CNIVersion, Name string }

// parseHeader fails where the configuration is no JSON object or its header is
// wrong. Without a version it is of 0.1.0, says the specification.
func parseHeader(stdin []byte) (header, error) {
	var h header
	// A name of another type leaves the version.
	err := jsonobject.Decode(stdin, jsonobject.Field{Name: "cniVersion", Into: &h.CNIVersion}, jsonobject.Field{Name: "name", Into: &h.Name})
	if h.CNIVersion == "" {
		h.CNIVersion = "0.1.0"
	}
	return h, err
}

// checkName looks at the name of a network, which becomes that of a directory.
func checkName(name string) *types.Error {
	if !statedir.IsName(name) {
		return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("name %q of the network is missing or has invalid characters; it must begin with a letter or digit and go on with these, '_', '.' or '-'", name), "")
	}
	return nil
}

// Args are what a verb is called with.
type Args struct {
	ContainerID   string
	Netns         string // path
	IfName        string
	Args          string // CNI_ARGS, "K=V;K=V"
	Path          string // list of directories in which plugins are
	NetnsOverride string
	StdinData     []byte // the network configuration
}

// isInterfaceName says what the kernel does.
func isInterfaceName(s string) bool {
	return len(s) <= 15 && s != "." && s != ".." &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) })
}

// arguments reads the environment and names everything that is wrong with it.
func arguments(command string, in Process, stdin []byte) (*Args, *types.Error) {
	args := &Args{
		ContainerID: in.Getenv("CNI_CONTAINERID"), Netns: in.Getenv("CNI_NETNS"), IfName: in.Getenv("CNI_IFNAME"),
		Args: in.Getenv("CNI_ARGS"), Path: in.pathOf(), NetnsOverride: in.Getenv("CNI_NETNS_OVERRIDE"), StdinData: stdin,
	}
	if command == "STATUS" || command == "GC" {
		return args, nil // they are about no attachment
	}
	var wrong []string
	check := func(name, value, rule string, valid bool) {
		if value == "" {
			wrong = append(wrong, name+" is missing")
		} else if !valid {
			wrong = append(wrong, fmt.Sprintf("%s=%q: %s", name, value, rule))
		}
	}
	check("CNI_CONTAINERID", args.ContainerID, "invalid characters: it must begin with a letter or digit and go on with these, '_', '.' or '-'", statedir.IsName(args.ContainerID))
	check("CNI_IFNAME", args.IfName, "interface name longer than 15 bytes, with '/', ':' or white space, or of dots alone; the kernel has none such", isInterfaceName(args.IfName))
	if command != "DEL" {
		check("CNI_NETNS", args.Netns, "", true)
	}
	if len(wrong) > 0 {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, strings.Join(wrong, "; ")+"; the runtime must set what the CNI specification says", "")
	}
	return args, nil
}
