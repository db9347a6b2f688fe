package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

// template is `helm template manifests/chart` with some values.
func template(values map[string]any) (string, error) {
	chart, err := loader.Load(filepath.Join(dir, "chart"))
	if err != nil {
		return "", err
	}
	release := common.ReleaseOptions{Name: "ropeway", Namespace: "default", Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, values, release, common.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, content := range files {
		out.WriteString("---\n" + content + "\n")
	}
	return out.String(), nil
}

// objects are those of a manifest by kind, namespace and name.
func objects(t *testing.T, manifest string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, document := range regexp.MustCompile(`(?m)^---$`).Split(manifest, -1) {
		var o struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
		}
		var whole map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &whole); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if len(whole) == 0 {
			continue // nothing but comments
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprint(o.Kind, " ", o.Metadata.Namespace, "/", o.Metadata.Name)
		if _, twice := out[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		out[key] = whole
	}
	return out
}

func mustTemplate(t *testing.T, values map[string]any) map[string]any {
	t.Helper()
	manifest, err := template(values)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, manifest)
}

func TestChartMakesTheObjectsOfTheManifest(t *testing.T) {
	for name, overlay := range manifests() {
		t.Run(name, func(t *testing.T) {
			manifest, err := render(dir, overlay)
			if err != nil {
				t.Fatal(err)
			}
			values := map[string]any{"mode": overlay}
			if name == "ropeway.yaml" {
				values = nil // the defaults
			}
			want, got := objects(t, string(manifest)), mustTemplate(t, values)
			if len(want) != 6 {
				t.Errorf("the manifest has %d objects", len(want))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("manifest and chart differ (-manifest +chart):\n%s", diff)
			}
		})
	}
}

// at walks through maps and, by their index, lists.
func at(t *testing.T, object any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := object.(map[string]any)
			object = m[step]
		case int:
			l, _ := object.([]any)
			if step >= len(l) {
				t.Fatalf("no element %d of %v", step, path)
			}
			object = l[step]
		}
	}
	return object
}

func TestValuesReachTheObjects(t *testing.T) {
	got := mustTemplate(t, map[string]any{
		"namespace":             map[string]any{"name": "net", "create": false},
		"mtu":                   1400,
		"vxlan":                 map[string]any{"vni": 7, "port": 8472, "checksumOffload": "off"},
		"masquerade":            false,
		"nodeAddress":           []any{"eth1", "fd00::/8"},
		"healthAddress":         "0.0.0.0:9999",
		"logLevel":              "debug",
		"probe":                 false,
		"image":                 map[string]any{"repository": "registry.example.net/r", "tag": "v9", "pullSecrets": []any{map[string]any{"name": "s"}}},
		"cniBinDir":             "/opt/bin",
		"kubernetesServiceHost": "api.example.net",
		"kubernetesServicePort": 6443,
		"resources":             map[string]any{"limits": map[string]any{"memory": "64Mi"}},
		"tolerations":           []any{map[string]any{"key": "k", "operator": "Exists"}},
	})
	if _, there := got["Namespace /net"]; there {
		t.Error("the namespace is made against namespace.create")
	}
	config := at(t, got["ConfigMap net/ropeway"], "data", "ropewayd.yaml").(string)
	var parsed map[string]any
	if err := yaml.UnmarshalStrict([]byte(config), &parsed); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"source": "kubernetes", "mode": "vxlan", "mtu": 1400.0, "masquerade": false, "logLevel": "debug", "probe": false,
		"vxlan":       map[string]any{"vni": 7.0, "port": 8472.0, "checksumOffload": "off"},
		"nodeAddress": []any{"eth1", "fd00::/8"}, "healthAddress": "0.0.0.0:9999", "procSys": "/host/proc/sys",
	}
	if diff := cmp.Diff(want, parsed); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	pod := at(t, got["DaemonSet net/ropeway"], "spec", "template", "spec")
	daemon := at(t, pod, "containers", 0)
	for what, tt := range map[string]struct{ got, want any }{
		"image":        {at(t, daemon, "image"), "registry.example.net/r:v9"},
		"install":      {at(t, pod, "initContainers", 0, "image"), "registry.example.net/r:v9"},
		"pull secrets": {at(t, pod, "imagePullSecrets", 0, "name"), "s"},
		"API server":   {at(t, daemon, "env", 1, "value"), "api.example.net"},
		"its port":     {at(t, daemon, "env", 2, "value"), "6443"},
		"probe host":   {at(t, daemon, "livenessProbe", "httpGet", "host"), "127.0.0.1"},
		"probe port":   {at(t, daemon, "readinessProbe", "httpGet", "port"), 9999.0},
		"limit":        {at(t, daemon, "resources", "limits", "memory"), "64Mi"},
		"toleration":   {at(t, pod, "tolerations", 0, "key"), "k"},
		"subject":      {at(t, got["ClusterRoleBinding /ropeway"], "subjects", 0, "namespace"), "net"},
		"plugins":      {at(t, pod, "volumes", 3, "hostPath", "path"), "/opt/bin"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %v, want %v", what, tt.got, tt.want)
		}
	}
}

func TestBareOnAndOffAreNotMistakenForTruthValues(t *testing.T) {
	for value, want := range map[any]string{"on": "on", "off": "off", true: "on", false: "off", "auto": "auto"} {
		got := mustTemplate(t, map[string]any{"vxlan": map[string]any{"checksumOffload": value}})
		config := at(t, got["ConfigMap ropeway/ropeway"], "data", "ropewayd.yaml").(string)
		if !strings.Contains(config, `checksumOffload: "`+want+`"}`) {
			t.Errorf("%v becomes\n%s", value, config)
		}
	}
}

func TestNoHealthAddressMeansNoProbes(t *testing.T) {
	got := mustTemplate(t, map[string]any{"healthAddress": ""})
	daemon := at(t, got["DaemonSet ropeway/ropeway"], "spec", "template", "spec", "containers", 0)
	for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		if at(t, daemon, probe) != nil {
			t.Errorf("there is a %s", probe)
		}
	}
	config := at(t, got["ConfigMap ropeway/ropeway"], "data", "ropewayd.yaml").(string)
	if !strings.Contains(config, `healthAddress: "" `) {
		t.Errorf("configuration:\n%s", config)
	}
}

func TestValueWithoutMeaningIsRefused(t *testing.T) {
	for name, values := range map[string]map[string]any{
		"unknown key":   {"mdoe": "vxlan"},
		"unknown mode":  {"mode": "bgp"},
		"key inside":    {"vxlan": map[string]any{"id": 7}},
		"small MTU":     {"mtu": 100},
		"address":       {"healthAddress": "9114"},
		"injected YAML": {"nodeAddress": []any{"eth0\"\nmode: direct"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := template(values); err == nil {
				t.Errorf("%v are accepted", values)
			}
		})
	}
}
