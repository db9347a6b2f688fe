package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// configMaps are the configurations in the manifests that operators apply, by
// file.
func configMaps(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../manifests/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range regexp.MustCompile(`(?m)^---$`).Split(string(b), -1) {
			var o struct {
				Kind string
				Data map[string]string
			}
			if err := yaml.Unmarshal([]byte(document), &o); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if o.Kind == "ConfigMap" {
				out[filepath.Base(path)] = o.Data["ropewayd.yaml"]
			}
		}
	}
	return out
}

func TestEveryManifestsConfigurationIsOneOfTheDaemon(t *testing.T) {
	configs := configMaps(t)
	if len(configs) < 7 {
		t.Fatalf("%d configurations in the manifests", len(configs))
	}
	modes := topology.Modes()
	for file, text := range configs {
		cfg, err := ParseConfig([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if cfg.ProcSys != "/host/proc/sys" {
			t.Errorf("%s: procSys is %s, where the manifest mounts nothing", file, cfg.ProcSys)
		}
		if file == "cleanup.yaml" {
			continue
		}
		if want := defaultConfig(); cfg.VXLAN != want.VXLAN || cfg.Masquerade != want.Masquerade || cfg.MTU != want.MTU || cfg.HealthAddress != want.HealthAddress || cfg.Probe != want.Probe || cfg.LogLevel != want.LogLevel {
			t.Errorf("%s spells out defaults that the daemon has not: %+v", file, cfg)
		}
		if cfg.Source != "kubernetes" {
			t.Errorf("%s: source %s", file, cfg.Source)
		}
		if file == "ropeway-"+string(cfg.Mode)+".yaml" {
			modes = slices.DeleteFunc(modes, func(m topology.Mode) bool { return m == cfg.Mode })
		}
	}
	if len(modes) > 0 {
		t.Errorf("no manifest for %v", modes)
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[VXLANConfig]()} {
		for i := range of.NumField() {
			key := of.Field(i).Tag.Get("json")
			if !regexp.MustCompile("[`{ ]" + key + "[`:]").Match(b) {
				t.Errorf("docs/install.md does not explain the key %s", key)
			}
		}
	}
}
