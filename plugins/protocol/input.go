package protocol

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"
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

// askedVersion is the version of a configuration, whatever else is wrong with
// it. Without one it is 0.1.0, says the specification.
func askedVersion(stdin []byte) string {
	var conf struct {
		CNIVersion string `json:"cniVersion"`
	}
	if err := json.Unmarshal(stdin, &conf); err != nil || conf.CNIVersion == "" {
		return "0.1.0"
	}
	return conf.CNIVersion
}

// checkInput looks at what every verb needs of a configuration.
func checkInput(stdin []byte) *types.Error {
	var conf struct {
		CNIVersion string `json:"cniVersion"`
		Name       string `json:"name"`
	}
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return types.NewError(types.ErrDecodingFailure, fmt.Sprintf("network configuration: %v; it must be one JSON object: check it with: python3 -m json.tool", err), "")
	}
	if err := utils.ValidateNetworkName(conf.Name); err != nil {
		return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("name %q of the network: %s; it must begin with a letter or digit and go on with these, '_', '.' or '-'", conf.Name, strings.TrimSuffix(err.Msg, ":")), "")
	}
	return nil
}

// arguments reads the environment and names everything that is wrong with it.
func arguments(command string, in Process, stdin []byte) (*skel.CmdArgs, *types.Error) {
	args := &skel.CmdArgs{
		ContainerID: in.Getenv("CNI_CONTAINERID"), Netns: in.Getenv("CNI_NETNS"), IfName: in.Getenv("CNI_IFNAME"),
		Args: in.Getenv("CNI_ARGS"), Path: in.pathOf(), NetnsOverride: in.Getenv("CNI_NETNS_OVERRIDE"), StdinData: stdin,
	}
	if command == "STATUS" || command == "GC" {
		return args, nil // they are about no attachment
	}
	var wrong []string
	check := func(name, value string, validate func(string) *types.Error) {
		if value == "" {
			wrong = append(wrong, name+" is missing")
			return
		}
		if err := validate(value); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s=%q: %s", name, value, strings.TrimSpace(err.Msg+" "+err.Details)))
		}
	}
	check("CNI_CONTAINERID", args.ContainerID, utils.ValidateContainerID)
	check("CNI_IFNAME", args.IfName, utils.ValidateInterfaceName)
	if command != "DEL" {
		check("CNI_NETNS", args.Netns, func(string) *types.Error { return nil })
	}
	if len(wrong) > 0 {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, strings.Join(wrong, "; ")+"; the runtime must set what the CNI specification says", "")
	}
	return args, nil
}
