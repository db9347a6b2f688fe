package endpoint

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/hostports"
	"github.com/ropeway-net/ropeway/kernel"
)

// full is a record in which no field is missing.
func full() Record {
	r := record("abc", "eth0")
	r.Pod = Pod{Namespace: "default", Name: "web", UID: "1-2", InfraContainerID: "abc"}
	r.MTU = 1450
	r.Sources = []netip.Addr{netip.MustParseAddr("10.1.0.1")}
	r.HostPorts = []hostports.Port{
		{HostPort: 80, ContainerPort: 8080, Protocol: kernel.TCP},
		{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 53, ContainerPort: 53, Protocol: kernel.UDP},
	}
	r.DNS = &DNS{Servers: []string{"10.0.0.10"}, Searches: []string{"a.b"}, Options: []string{"ndots:5"}}
	r.Aliases = []string{"other"}
	r.Bandwidth = bandwidth.Limits{Ingress: bandwidth.Limit{Rate: 1e6, Burst: 2e6}, Egress: bandwidth.Limit{Rate: 3e6, Burst: 4e6}}
	r.IPAM = IPAM{Type: "host-local", DataDir: "/var/lib/cni/networks", Config: json.RawMessage(`{"name":"<é>"}`)}
	r.Network, r.Netns = "demo", "/run/netns/\"odd\"\n"
	r.Created = time.Date(2026, 11, 28, 1, 2, 3, 456_000_000, time.UTC)
	return r
}

func TestNoFieldIsForgotten(t *testing.T) {
	r := full()
	for _, part := range []any{r, r.Pod, *r.DNS, r.IPAM} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s is missing in the record of this test", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
	for name, r := range map[string]Record{"full": r, "of least": record("abc", "eth0"), "empty": {Addresses: []netip.Addr{}}} {
		text, err := r.text()
		if err != nil {
			t.Fatal(err)
		}
		standard, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(members(t, standard), members(t, text)); d != "" {
			t.Errorf("%s: (-encoding/json +ours):\n%s", name, d)
		}
		var want, got Record
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if err := got.parse(text); err != nil {
			t.Fatal(err)
		}
		if len(want.Addresses) == 0 {
			want.Addresses = nil
		}
		if d := diff(want, got); d != "" {
			t.Errorf("%s: read (-encoding/json +ours):\n%s", name, d)
		}
	}
}

// The text of a record as encoding/json wrote it, which an update finds.
func TestRecordOfAnEarlierVersionIsRead(t *testing.T) {
	link := HostLink("abc", "eth0")
	const head = `{"bootID":"b","containerID":"abc","ifName":"eth0","network":"demo","netns":"/run/netns/\u003ca\u003e","pod":{},"hostLink":"`
	for _, tt := range []struct {
		tail string
		ok   bool
	}{
		{`","mac":"02:00:5e:10:00:01","mtu":1450,"addresses":["10.1.0.2"],"ipam":{"type":"ropeway-ipam","dataDir":"/d"},"created":"2026-11-28T01:02:03.456Z"}`, true},
		{`","mac":"","mtu":0,"addresses":null,"ipam":{"type":""},"created":"0001-01-01T00:00:00Z"}`, true},
		{`"}`, true},
		{`","created":"yesterday"}`, false},
		{`","mac":"x"}`, false},
		{`","sources":["10.1.0.1%eth0"]}`, false},
		{`","addresses":["x"]}`, false},
		{`","hostPorts":[{"hostPort":80}]}`, false},
		{`","pod":[]}`, false},
		{`","ipam":7}`, false},
	} {
		r, err := ParseRecord([]byte(head + link + tt.tail))
		if (err == nil) != tt.ok || tt.ok && r.Netns != "/run/netns/<a>" || !tt.ok && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", tt.tail, r, err)
		}
	}
}

func members(t *testing.T, text []byte) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}
