package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
)

func TestEveryVerbRefusesThePluginsOwnNamespace(t *testing.T) {
	n := newNode(t)
	for _, verb := range []string{"ADD", "DEL", "CHECK"} {
		for _, path := range []string{n.netns, "/proc/self/ns/net"} {
			n.wantError(call{verb: verb, id: "a", netns: path, conf: n.conf()}, types.ErrInvalidNetNS, "CNI_NETNS", path, "plugin itself")
		}
	}
	n.wantNothingLeft()
	if _, err := os.Stat(string(n.state)); err == nil {
		t.Error("the state directory was made")
	}
}

func TestAddRefusesWhatIsNoNetworkNamespace(t *testing.T) {
	n := newNode(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, t.TempDir(), "/proc/self/ns/mnt", "/dev/null", file + ".missing", file + "/below"} {
		n.wantError(call{verb: "ADD", id: "a", netns: path, conf: n.conf()}, types.ErrInvalidNetNS, "CNI_NETNS", path)
	}
	n.wantNothingLeft()
}

func TestAddRefusesAnInterfaceThatExists(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	ip(t, pod, "link", "add", "eth0", "type", "veth", "peer", "name", "other")
	n.wantError(call{verb: "ADD", id: "a", netns: pod, conf: n.conf()}, types.ErrInvalidEnvironmentVariables, "CNI_IFNAME", "eth0 exists already", pod)
	n.wantNothingLeft()
}

func TestAddRefusesASecondAttachmentUnderTheSameName(t *testing.T) {
	n := newNode(t)
	first := newNetns(t)
	n.add(call{id: "a", netns: first, conf: n.conf()})
	n.wantError(call{verb: "ADD", id: "a", netns: newNetns(t), conf: n.conf()}, codeAttached, first, "10.99.0.2", "DEL")
	if got := n.record("a").Netns; got != first {
		t.Errorf("record now names %s, want %s", got, first)
	}
}

func TestAddReplacesWhatAnEarlierBootLeft(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	n.add(call{id: "a", netns: pod, conf: n.conf()})
	rec := n.record("a")
	ip(t, n.netns, "link", "delete", rec.HostLink)
	rec.BootID = "earlier"
	store := endpoint.Store{Dir: n.state.Endpoints()}
	if err := store.Write(rec); err != nil {
		t.Fatal(err)
	}
	n.add(call{id: "a", netns: pod, conf: n.conf()})
	if got := n.record("a").BootID; got == "earlier" {
		t.Error("the record is still the earlier boot's")
	}
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	n.wantNothingLeft()
}

func TestAddFinishesOneThatWasKilled(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"record is whole": func(*testing.T, string) {},
		"record is torn": func(t *testing.T, path string) {
			if err := os.Truncate(path, 10); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, pod := newNode(t), newNetns(t)
			n.add(call{id: "a", netns: pod, conf: n.conf()})
			ip(t, n.netns, "link", "delete", n.record("a").HostLink)
			damage(t, filepath.Join(n.state.Endpoints(), "a-eth0.json"))
			n.add(call{id: "a", netns: pod, conf: n.conf()})
			n.must(call{verb: "DEL", id: "a", conf: n.conf()})
			n.wantNothingLeft()
		})
	}
}

func TestAddRefusesNamesThatTheKernelKeeps(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	for _, name := range []string{"all", "default", "eth%d"} {
		n.wantError(call{verb: "ADD", id: "a", netns: pod, ifName: name, conf: n.conf()}, types.ErrInvalidEnvironmentVariables, "CNI_IFNAME", name)
	}
	n.wantNothingLeft()
}

func TestAddRefusesAddressesThatCannotBeRouted(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	for _, subnet := range []string{"169.254.1.0/24", "fe80::/64"} {
		n.wantError(call{verb: "ADD", id: "a", netns: pod, conf: n.conf("podCIDRs", []string{subnet})},
			types.ErrInvalidNetworkConfig, subnet)
		n.wantError(call{verb: "ADD", id: "a", netns: pod, conf: n.conf("ipam", map[string]any{"type": inProcess, "dataDir": n.networks, "subnet": subnet})},
			types.ErrInvalidNetworkConfig, "another pod CIDR")
	}
	n.wantNothingLeft()
}

func TestDelOfWhatIsUnknownSucceedsOnAReadOnlyFileSystem(t *testing.T) {
	n := newNode(t)
	n.mountState("ro")
	n.networks = filepath.Join(string(n.state), "networks")
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
}

func TestErrorsBeforeAnyVerbHaveARemedyToo(t *testing.T) {
	n, pod := newNode(t), newNetns(t)
	for _, tt := range []struct {
		conf string
		code uint
		say  string
	}{
		{`{"cniVersion":`, types.ErrDecodingFailure, "json.tool"},
		{`[]`, types.ErrDecodingFailure, "JSON object"},
		{n.conf("cniVersion", "0.2.0"), types.ErrIncompatibleCNIVersion, "set cniVersion"},
		{n.conf("name", "a/b"), types.ErrInvalidNetworkConfig, "must begin with"},
	} {
		n.wantError(call{verb: "ADD", id: "a", netns: pod, conf: tt.conf}, tt.code, tt.say)
	}
	n.wantError(call{verb: "ADD", id: "a/b", netns: pod, conf: n.conf()}, types.ErrInvalidEnvironmentVariables, "CNI_CONTAINERID")
	n.wantNothingLeft()
}
