package protocol

import (
	"encoding/json"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/ipam"
)

// ValidAttachments reads the list of a GC, under the key of the specification
// and the one that runtimes used before it. A runtime without pods sends null,
// which is an empty list; no list at all must not remove everything, and is an
// error.
func ValidAttachments(netconf []byte) ([]ipam.Attachment, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(netconf, &keys); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("network configuration is not a JSON object: %v; check it with: python3 -m json.tool", err), "")
	}
	var valid []ipam.Attachment
	found := false
	for _, key := range []string{"cni.dev/valid-attachments", "cni.dev/attachments"} {
		raw, ok := keys[key]
		if !ok {
			continue
		}
		found = true
		var listed []types.GCAttachment
		if err := json.Unmarshal(raw, &listed); err != nil {
			return nil, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("%s is no list of attachments: %v; send objects of containerID and ifname", key, err), "")
		}
		for _, a := range listed {
			valid = append(valid, ipam.Attachment{ContainerID: a.ContainerID, IfName: a.IfName})
		}
	}
	if !found {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "network configuration has no cni.dev/valid-attachments, and nothing is removed without; send an empty list if no attachment is valid", "")
	}
	return valid, nil
}
