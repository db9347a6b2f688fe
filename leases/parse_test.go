package leases

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/endpoint"
)

func TestResultOfLibcniNamesThePod(t *testing.T) {
	r, ok := parseResult([]byte(`{"kind":"cniCacheV1","containerId":"abc","ifName":"eth0","networkName":"net","netns":"/run/netns/a",
"cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","default"],["K8S_POD_NAME","web"],["K8S_POD_UID","7"]],"result":{}}`))
	if !ok || r.ContainerID != "abc" || r.Netns != "/run/netns/a" {
		t.Errorf("%+v, %v", r, ok)
	}
	if diff := cmp.Diff(endpoint.Pod{Namespace: "default", Name: "web", UID: "7"}, r.pod()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzParseResult(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := parseResult(b); ok && (r.ContainerID == "" || r.Network == "") {
			t.Errorf("%q is read as %+v", b, r)
		}
	})
}

func FuzzParseNetconf(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		confs, err := parseNetconf(b)
		if err != nil && len(confs) > 0 {
			t.Errorf("%q yields %v and %v", b, confs, err)
		}
		for _, c := range confs {
			if !json.Valid(c.raw) {
				t.Errorf("%q yields %q", b, c.raw)
			}
		}
	})
}
