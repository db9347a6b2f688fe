package main

import (
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
)

// parseArgs reads CNI_ARGS, "K=V;K=V". Runtimes send keys for others, so
// nobody's keys are an error here.
func parseArgs(s string) (map[string]string, error) {
	pairs := map[string]string{}
	for pair := range strings.SplitSeq(s, ";") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, failf(types.ErrInvalidEnvironmentVariables, "CNI_ARGS: %q is no KEY=VALUE; separate pairs with a semicolon", pair)
		}
		pairs[key] = value
	}
	return pairs, nil
}

// podOf picks what Kubernetes runtimes say about the container.
func podOf(args map[string]string) endpoint.Pod {
	return endpoint.Pod{
		Namespace: args["K8S_POD_NAMESPACE"],
		Name:      args["K8S_POD_NAME"],
		UID:       args["K8S_POD_UID"],

		InfraContainerID: args["K8S_POD_INFRA_CONTAINER_ID"],
	}
}
