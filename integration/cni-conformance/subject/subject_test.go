package subject

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeFindsThePluginAndItsKind(t *testing.T) {
	const list = `{"name":"n","cniVersion":"1.1.0","plugins":[{"type":"ptp","ipam":{"type":"host-local"}},{"type":"portmap","capabilities":{"portMappings":true}}]}`
	for name, tt := range map[string]struct {
		conf, target string
		want         Kind
		wantType     string
	}{
		"single":           {`{"name":"n","type":"ptp","ipam":{"type":"host-local"}}`, "", Interface, "ptp"},
		"first of a list":  {list, "", Interface, "ptp"},
		"second of a list": {list, "portmap", Chained, "portmap"},
		"IPAM alone":       {`{"name":"n","type":"host-local","ipam":{"type":"host-local"}}`, "", IPAM, "host-local"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Decode([]byte(tt.conf), tt.target)
			if err != nil {
				t.Fatal(err)
			}
			if s.Kind != tt.want || s.Type() != tt.wantType || s.Network != "n" {
				t.Errorf("%+v", s)
			}
			if s.Has("portMappings") != (tt.wantType == "portmap") {
				t.Error("capability portMappings is another one")
			}
		})
	}
}

func TestDecodeRefusesWithAReason(t *testing.T) {
	for conf, want := range map[string]string{
		`[]`:                                  "JSON object",
		`{"type":"ptp"}`:                      "name",
		`{"name":"n"}`:                        "type",
		`{"name":"n","type":"a/b"}`:           "type",
		`{"name":"n","plugins":[1]}`:          "plugin 0",
		`{"name":"n","plugins":[]}`:           "no plugin",
		`{"name":"n","plugins":[{"type":1}]}`: "type",
	} {
		if _, err := Decode([]byte(conf), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", conf, err, want)
		}
	}
}

func TestParseReadsLabelTypeAndFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "net.conflist")
	if err := os.WriteFile(file, []byte(`{"name":"n","plugins":[{"type":"a"},{"type":"b"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for spec, want := range map[string][]string{
		file:             {"net", "a"},
		"mine=" + file:   {"mine", "a"},
		"mine:b=" + file: {"mine", "b"},
	} {
		s, err := Parse(spec, []string{dir})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, []string{s.Label, s.Type()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", spec, diff)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"name":"n","type":"ptp","ipam":{"type":"x"}}`, `{"name":"n","plugins":[{"type":"a"}]}`, `{"plugins":{}}`, `null`, ``} {
		f.Add([]byte(seed), "")
	}
	f.Fuzz(func(t *testing.T, b []byte, target string) {
		s, err := Decode(b, target)
		if err != nil {
			return
		}
		if s.Type() == "" || strings.Contains(s.Type(), "/") || s.Kind == "" || target != "" && s.Type() != target {
			t.Errorf("%q: %+v", b, s)
		}
	})
}
