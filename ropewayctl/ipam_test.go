package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/leases"
)

func TestLeasesAreReadable(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	id := strings.Repeat("0123456789abcdef", 4)
	report := leases.Report{
		Networks: []leases.Network{
			{Name: "ropeway", Ours: true, Ranges: []leases.Range{{Range: "10.1.0.0/24", Used: 1, Total: 253}, {Range: "fd00::/64", Used: 1}}, Leases: []leases.Lease{
				{Network: "ropeway", Address: netip.MustParseAddr("10.1.0.2"), ContainerID: id, IfName: "eth0", Pod: endpoint.Pod{Namespace: "default", Name: "web"}, Since: now.Add(-time.Hour), Use: leases.InUse, HostLink: "rwp0123456789ab", Netns: "/run/netns/a", Reason: "link rwp0123456789ab"},
			}},
			{Name: "old", Leases: []leases.Lease{{Network: "old", Address: netip.MustParseAddr("10.2.0.2"), ContainerID: "c", Since: now.Add(-72 * time.Hour), Use: leases.Unused, Reason: "no trace"}}},
		},
		Notes: []string{"not all was seen"},
	}
	for _, test := range []struct {
		name    string
		columns []column
		want    string
	}{
		{"short", shortColumns(), `
NETWORK  ADDRESS   POD          CONTAINER      INTERFACE  AGE  IN USE
ropeway  10.1.0.2  default/web  0123456789abc  eth0       60m  yes
old      10.2.0.2  -            c              -          3d   no

NETWORK  RANGE        GIVEN OUT  OF
ropeway  10.1.0.0/24  1          253
ropeway  fd00::/64    1          2^64 or more
old      not known    1          -
note: not all was seen
`},
		{"wide", wideColumns(), `
NETWORK  ADDRESS   POD          CONTAINER                                                         INTERFACE  AGE  IN USE  LINK             NAMESPACE     REASON
ropeway  10.1.0.2  default/web  ` + id + `  eth0       60m  yes     rwp0123456789ab  /run/netns/a  link rwp0123456789ab
old      10.2.0.2  -            c                                                                 -          3d   no      -                -             no trace

NETWORK  RANGE        GIVEN OUT  OF
ropeway  10.1.0.0/24  1          253
ropeway  fd00::/64    1          2^64 or more
old      not known    1          -
note: not all was seen
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			if err := printLeases(&b, report, test.columns, now); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// ipam runs `ropewayctl ipam` on directories of the test's own.
func ipamRun(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := ipamCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append(args, "--state-dir", filepath.Join(dir, "ropeway"), "--networks-dir", filepath.Join(dir, "networks"),
		"--conf-dir", filepath.Join(dir, "net.d"), "--results-dir", filepath.Join(dir, "results")))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCheckFailsWithRemediesAndGCFreesWhatIsDamaged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test enters network namespaces: run it as root")
	}
	dir := t.TempDir()
	for path, content := range map[string]string{
		"networks/ropeway/198.18.78.2": "", "networks/ropeway/boot_id": "an earlier boot\n",
		"networks/ropeway/198.18.78.3": "gone\r\neth0",
		"networks/other/198.18.79.2":   "", "networks/other/lock": "",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o400); err != nil { // the mode of ours, stamped with boot_id
			t.Fatal(err)
		}
	}
	wantWords := func(out string, err error, fails string, words ...string) {
		t.Helper()
		if (err == nil) != (fails == "") || err != nil && !strings.Contains(err.Error(), fails) {
			t.Errorf("error %v, want %q", err, fails)
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("output does not say %q:\n%s", w, out)
			}
		}
	}
	out, err := ipamRun(t, dir, "check")
	wantWords(out, err, "3 inconsistencies", "ropeway 198.18.78.2: damaged: its file is damaged (empty)", "remedy: free it with: ropewayctl ipam gc",
		"ropeway 198.18.78.3: earlier-boot", "other 198.18.79.2: damaged", "the network is host-local's")
	out, err = ipamRun(t, dir, "gc", "--dry-run")
	wantWords(out, err, "", "would free 2 addresses, kept 1 in doubt", "only looked at")
	if out, err = ipamRun(t, dir, "check", "-o", "json"); err == nil || !strings.Contains(out, `"kind": "earlier-boot"`) {
		t.Errorf("check as JSON: %v\n%s", err, out)
	}
	out, err = ipamRun(t, dir, "gc")
	wantWords(out, err, "", "freed 2 addresses")
	out, err = ipamRun(t, dir, "check", "ropeway")
	wantWords(out, err, "", "0 addresses in 1 networks")
	out, err = ipamRun(t, dir, "ls")
	wantWords(out, err, "", "198.18.79.2")
	_, err = ipamRun(t, dir, "ls", "nosuch")
	wantWords("", err, "network nosuch has no reservations")
	_, err = ipamRun(t, dir, "ls", "-o", "yaml")
	wantWords("", err, `output "yaml" is unknown`)
}
