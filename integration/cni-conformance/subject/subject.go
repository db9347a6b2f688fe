// Package subject reads what is to be examined: a plugin within a network
// configuration, and the directories in which the plugins are.
package subject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Kind is what a plugin is to the network, which decides what can be asked of it.
type Kind string

// The kinds of plugins.
const (
	Interface Kind = "interface" // makes an interface in the container
	Chained   Kind = "chained"   // adjusts what an earlier plugin of the list made
	IPAM      Kind = "ipam"      // hands out addresses and makes no interface
)

// Subject is a plugin under examination.
type Subject struct {
	Label   string           `json:"label"`
	Path    []string         `json:"path"` // CNI_PATH
	Network string           `json:"network"`
	Plugins []map[string]any `json:"plugins"`
	Target  int              `json:"target"` // index of the plugin under examination
	Kind    Kind             `json:"kind"`
}

// Parse reads LABEL:TYPE=FILE, of which FILE alone is enough: the label is then
// the file's name, and the plugin the first one of the configuration.
func Parse(spec string, path []string) (Subject, error) {
	label, file, labelled := strings.Cut(spec, "=")
	if !labelled {
		file = spec
		label = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	}
	label, target, _ := strings.Cut(label, ":")
	b, err := os.ReadFile(file)
	if err != nil {
		return Subject{}, fmt.Errorf("network configuration: %w", err)
	}
	s, err := Decode(b, target)
	if err != nil {
		return Subject{}, fmt.Errorf("%s: %w", file, err)
	}
	s.Label, s.Path = label, path
	if _, err := s.Binary(); err != nil {
		return Subject{}, err
	}
	return s, nil
}

// Decode reads a network configuration, a list or a single plugin's. target is
// the type of the plugin under examination; empty means the first.
func Decode(b []byte, target string) (Subject, error) {
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		return Subject{}, fmt.Errorf("it is not one JSON object: %w", err)
	}
	s := Subject{Network: text(doc, "name")}
	if s.Network == "" {
		return Subject{}, errors.New(`it has no "name"`)
	}
	list, isList := doc["plugins"].([]any)
	if !isList {
		list = []any{doc}
	}
	s.Target = -1
	for i, entry := range list {
		plugin, ok := entry.(map[string]any)
		if !ok || text(plugin, "type") == "" || strings.ContainsRune(text(plugin, "type"), '/') {
			return Subject{}, fmt.Errorf(`plugin %d has no "type" that is a file name`, i)
		}
		delete(plugin, "cniVersion")
		delete(plugin, "name")
		s.Plugins = append(s.Plugins, plugin)
		if s.Target < 0 && (target == "" || text(plugin, "type") == target) {
			s.Target = i
		}
	}
	if s.Target < 0 {
		return Subject{}, fmt.Errorf("no plugin of it has the type %q", target)
	}
	s.Kind = kindOf(s)
	return s, nil
}

func kindOf(s Subject) Kind {
	switch {
	case s.Target > 0:
		return Chained
	case s.IPAMType() == s.Type():
		return IPAM
	}
	return Interface
}

// Type is the plugin's name.
func (s Subject) Type() string { return text(s.Plugins[s.Target], "type") }

// IPAMType names the plugin to which this one delegates; "" is none.
func (s Subject) IPAMType() string {
	ipam, _ := s.Plugins[s.Target]["ipam"].(map[string]any)
	return text(ipam, "type")
}

// Has reports whether the configuration declares a capability.
func (s Subject) Has(capability string) bool { return Declares(s.Plugins[s.Target], capability) }

// Declares reports whether a plugin's configuration declares a capability.
func Declares(plugin map[string]any, capability string) bool {
	capabilities, _ := plugin["capabilities"].(map[string]any)
	on, _ := capabilities[capability].(bool)
	return on
}

// Binary finds the program of the plugin.
func (s Subject) Binary() (string, error) { return s.Find(s.Type()) }

// Find searches CNI_PATH for a plugin.
func (s Subject) Find(kind string) (string, error) {
	for _, dir := range s.Path {
		path := filepath.Join(dir, kind)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("plugin %q is in none of %s; give its directory with -bin", kind, strings.Join(s.Path, ", "))
}

func text(doc map[string]any, key string) string {
	t, _ := doc[key].(string)
	return t
}
