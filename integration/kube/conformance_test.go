package kube

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites><testsuite name="Kubernetes e2e suite">
<testcase name="[BeforeSuite]" status="passed" time="1"></testcase>
<testcase name="[It] [sig-network] DNS should provide DNS for the cluster  [Conformance] [sig-network, Conformance]" status="passed" time="2.5"></testcase>
<testcase name="[It] [sig-network] Services should work | well [sig-network]" status="failed" time="1"><failure message="timed out&#xA;waiting"></failure></testcase>
<testcase name="[It] [sig-network] Zones should be three [sig-network]" status="skipped" time="0"><skipped message="skipped - Requires &gt;= 3 zones"></skipped></testcase>
<testcase name="[It] [sig-network] LoadBalancers [Feature:LoadBalancer] should balance [sig-network, Feature:LoadBalancer]" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
<testcase name="[It] [sig-storage] Volumes should hold water [sig-storage]" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
<testcase name="[SynchronizedAfterSuite]" status="failed" time="0"><failure message="bang"></failure></testcase>
</testsuite></testsuites>`

func TestJUnitReportYieldsWhatRanAndWhatIsExcluded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "junit.xml")
	if err := os.WriteFile(path, []byte(report), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readJUnit(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []Verdict{
		{Spec: "[sig-network] DNS should provide DNS for the cluster  [Conformance]", Outcome: Passed},
		{Spec: "[sig-network] Services should work | well", Outcome: Failed, Reason: "timed out waiting"},
		{Spec: "[sig-network] Zones should be three", Outcome: Skipped, Reason: "Requires >= 3 zones"},
		{Spec: "[sig-network] LoadBalancers [Feature:LoadBalancer] should balance", Outcome: Excluded, Reason: "needs a cloud's load balancer"},
		{Spec: "[SynchronizedAfterSuite]", Outcome: Failed, Reason: "bang"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Verdict{}, "Took")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPageNamesEverySpecThatDidNotPass(t *testing.T) {
	page := Report([]Run{{Mode: "vxlan", Proxy: NFTables, Selection: Further, Verdicts: []Verdict{
		{Spec: "good", Outcome: Passed},
		{Spec: "bad | worse", Outcome: Failed, Reason: "timed out"},
		{Spec: "lazy", Outcome: Skipped, Reason: "Requires >= 3 zones"},
		{Spec: "cloudy", Outcome: Excluded, Reason: "needs a cloud's load balancer"},
	}}})
	for _, part := range []string{
		"| vxlan, kube-proxy nftables | further | 2 | 1 | 1 | 1 |",
		`bad \| worse`, "timed out", "lazy", "Requires >= 3 zones", "1: needs a cloud's load balancer.", "- cloudy",
	} {
		if !strings.Contains(page, part) {
			t.Errorf("the page does not say %q:\n%s", part, page)
		}
	}
	if strings.Contains(page, "good") {
		t.Error("the page lists a spec that passed")
	}
}

func TestSelectionsTakeWhatTheyName(t *testing.T) {
	for _, tc := range []struct {
		spec string
		want []Selection
	}{
		{"[sig-network] DNS should provide DNS for the cluster  [Conformance]", []Selection{Conformant, Short}},
		{"[sig-network] NoSNAT Should be able to send traffic between Pods without SNAT", []Selection{Further, Short}},
		{"[sig-network] Services should be rejected when no endpoints exist", []Selection{Further}},
		{"[sig-network] LoadBalancers [Feature:LoadBalancer] should work", nil},
		{"[sig-storage] Volumes should hold water", nil},
	} {
		var got []Selection
		for _, s := range []Selection{Conformant, Further, Short} {
			if regexp.MustCompile(s.focus()).MatchString(tc.spec) && !regexp.MustCompile(s.skip()).MatchString(tc.spec) {
				got = append(got, s)
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.spec, diff)
		}
	}
}

func TestImageIsTheOneThatTheManifestNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(path, []byte("  image: ghcr.io/x/ropeway:v1\n  imagePullPolicy: Always\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ManifestImage(path); err != nil || got != "ghcr.io/x/ropeway:v1" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("image: nginx:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ManifestImage(path); err == nil {
		t.Errorf("a manifest without it yields %q", got)
	}
}
