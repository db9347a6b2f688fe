// Package manifests holds what operators apply; its tests hold it to the least
// privilege.
package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// object is the part of a Kubernetes object that the tests look at.
type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Rules []rule
	Spec  struct {
		Template struct{ Spec podSpec }
	}
}

type rule struct {
	APIGroups, Resources, Verbs []string
}

type podSpec struct {
	HostNetwork, HostPID, HostIPC bool
	AutomountServiceAccountToken  bool
	InitContainers, Containers    []container
	SecurityContext               struct{ SeccompProfile struct{ Type string } }
	Volumes                       []struct {
		Name     string
		HostPath *struct{ Path, Type string }
	}
}

type container struct {
	Name, Image     string
	Command         []string
	SecurityContext struct {
		Privileged, AllowPrivilegeEscalation *bool
		ReadOnlyRootFilesystem               bool
		Capabilities                         struct{ Add, Drop []string }
	}
	VolumeMounts []struct{ Name, MountPath string }
	Ports        []struct {
		HostIP                  string
		ContainerPort, HostPort int
	}
	LivenessProbe *struct {
		HTTPGet struct {
			Host string
			Port int
		}
	}
}

// manifests are the objects of each file, by kind and name.
func manifests(t *testing.T) map[string]map[string]object {
	t.Helper()
	paths, err := filepath.Glob("*.yaml")
	if err != nil || len(paths) < 7 {
		t.Fatalf("manifests %v, %v", paths, err)
	}
	out := map[string]map[string]object{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = map[string]object{}
		for _, document := range regexp.MustCompile(`(?m)^---$`).Split(string(b), -1) {
			var o object
			if err := yaml.Unmarshal([]byte(document), &o); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			out[path][o.Kind+" "+o.Metadata.Name] = o
		}
	}
	return out
}

func TestRightsInTheClusterAreTheLeast(t *testing.T) {
	want := []rule{
		{[]string{""}, []string{"nodes"}, []string{"get", "list", "watch"}},
		{[]string{""}, []string{"nodes/status"}, []string{"patch"}},
		{[]string{""}, []string{"events"}, []string{"create", "patch"}},
	}
	for file, objects := range manifests(t) {
		roles := 0
		for key, o := range objects {
			switch o.Kind {
			case "ClusterRole":
				roles++
				if diff := cmp.Diff(want, o.Rules); diff != "" {
					t.Errorf("%s: rules (-want +got):\n%s", file, diff)
				}
			case "Role", "RoleBinding":
				t.Errorf("%s: %s grants more", file, key)
			}
		}
		if cleanup := file == "cleanup.yaml"; cleanup != (roles == 0) {
			t.Errorf("%s has %d cluster roles", file, roles)
		}
	}
}

func TestPortThatIsProbedIsNoOtherPodsHostPort(t *testing.T) {
	for file, objects := range manifests(t) {
		for _, c := range containers(t, file, objects) {
			if c.LivenessProbe == nil {
				continue
			}
			ask := c.LivenessProbe.HTTPGet
			if len(c.Ports) != 1 || c.Ports[0].HostIP != ask.Host || c.Ports[0].HostPort != ask.Port || c.Ports[0].ContainerPort != ask.Port {
				t.Errorf("%s, container %s: ports %+v, probed is %+v; the scheduler keeps free only what is listed", file, c.Name, c.Ports, ask)
			}
		}
	}
}

func TestContainersHaveNoPrivilegeThatIsNotNamed(t *testing.T) {
	capabilities := map[string][]string{
		"install": nil, "ropewayd": {"NET_ADMIN", "NET_RAW"},
		"cleanup": {"NET_ADMIN"}, "done": nil,
	}
	for file, objects := range manifests(t) {
		for _, c := range containers(t, file, objects) {
			s := c.SecurityContext
			if s.Privileged != nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem {
				t.Errorf("%s, container %s: %+v", file, c.Name, s)
			}
			if diff := cmp.Diff([]string{"ALL"}, s.Capabilities.Drop); diff != "" {
				t.Errorf("%s, container %s drops (-want +got):\n%s", file, c.Name, diff)
			}
			want, known := capabilities[c.Name]
			if diff := cmp.Diff(want, s.Capabilities.Add); !known || diff != "" {
				t.Errorf("%s, container %s adds (-want +got):\n%s", file, c.Name, diff)
			}
		}
	}
}

func pod(t *testing.T, file string, objects map[string]object) podSpec {
	t.Helper()
	for _, o := range objects {
		if o.Kind == "DaemonSet" {
			return o.Spec.Template.Spec
		}
	}
	t.Fatalf("%s has no DaemonSet", file)
	return podSpec{}
}

func containers(t *testing.T, file string, objects map[string]object) []container {
	t.Helper()
	p := pod(t, file, objects)
	return append(p.InitContainers, p.Containers...)
}

func TestPodsSeeOfTheHostWhatTheyNeed(t *testing.T) {
	want := map[string]string{
		"state": "/var/lib/cni", "cni-conf": "/etc/cni/net.d", "cni-bin": "/opt/cni/bin", "proc-sys-net": "/proc/sys/net",
	}
	for file, objects := range manifests(t) {
		p := pod(t, file, objects)
		got := map[string]string{}
		for _, v := range p.Volumes {
			if v.HostPath != nil {
				got[v.Name] = v.HostPath.Path
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: host paths (-want +got):\n%s", file, diff)
		}
		cleanup := file == "cleanup.yaml"
		if !p.HostNetwork || p.HostIPC || p.HostPID == cleanup || p.AutomountServiceAccountToken == cleanup || p.SecurityContext.SeccompProfile.Type != "RuntimeDefault" {
			t.Errorf("%s: %+v", file, p)
		}
		for _, c := range p.Containers {
			for _, m := range c.VolumeMounts {
				if m.Name == "cni-bin" {
					t.Errorf("%s: container %s could change the plugins", file, c.Name)
				}
			}
		}
	}
}

func TestNamespacesAllowTheHostsNetworkAndImagesAreOne(t *testing.T) {
	images := map[string]bool{}
	for file, objects := range manifests(t) {
		namespaces := 0
		for _, o := range objects {
			if o.Kind == "Namespace" {
				namespaces++
				if o.Metadata.Labels["pod-security.kubernetes.io/enforce"] != "privileged" {
					t.Errorf("%s: namespace %s would refuse the pods", file, o.Metadata.Name)
				}
			}
		}
		if namespaces != 1 {
			t.Errorf("%s has %d namespaces", file, namespaces)
		}
		for _, c := range containers(t, file, objects) {
			images[c.Image] = true
			if !strings.HasPrefix(c.Image, "ghcr.io/ropeway-net/ropeway:") {
				t.Errorf("%s: image %s", file, c.Image)
			}
		}
	}
	if len(images) != 1 {
		t.Errorf("the manifests name different images: %s", fmt.Sprint(images))
	}
}
