package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandLineIsRefusedWithAReason(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "net.conf")
	if err := os.WriteFile(conf, []byte(`{"name":"n","type":"fake"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no configuration":  {nil, "at least one"},
		"unknown case":      {[]string{"-case", "nonsense", conf}, "no case"},
		"hidden directory":  {[]string{"-bin", "/var/lib/plugins", conf}, "elsewhere"},
		"no binary":         {[]string{"-bin", t.TempDir(), conf}, "-bin"},
		"no file":           {[]string{"-bin", "testdata", "/nowhere"}, "nowhere"},
		"unknown plugin":    {[]string{"-bin", "testdata", "label:other=" + conf}, "other"},
		"no such directory": {[]string{"-bin", "/nowhere", conf}, "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), tt.args, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not say %q", err, tt.want)
			}
		})
	}
}
