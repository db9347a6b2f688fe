package endpoint

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFilesAreKnownByTheirNamesWhateverTheyHold(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "endpoints")}
	if found, err := s.Files(); len(found) != 0 || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	if err := s.Write(record("good", "eth0")); err != nil {
		t.Fatal(err)
	}
	c := claim(t, s, "made")
	defer func() { _ = c.Release() }()
	for _, name := range []string{"a-b-c.json", "torn-eth0.json", "nodash.json", "notes.txt", "-x.json"} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := s.Files()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]File{}
	damaged := map[string]bool{}
	for _, f := range found {
		name := filepath.Base(f.Path)
		got[name], damaged[name] = File{HostLinks: f.HostLinks, Claim: f.Claim}, f.IsDamaged()
	}
	if d := diff(map[string]File{
		"good-eth0.json":      {HostLinks: []string{HostLink("good", "eth0")}},
		".tmp-made-eth0.json": {HostLinks: []string{HostLink("made", "eth0")}, Claim: true},
		"torn-eth0.json":      {HostLinks: []string{HostLink("torn", "eth0")}},
		"a-b-c.json":          {HostLinks: []string{HostLink("a", "b-c"), HostLink("a-b", "c")}},
		"nodash.json":         {}, "-x.json": {},
	}, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if damaged["good-eth0.json"] || !damaged["torn-eth0.json"] {
		t.Errorf("damaged: %v", damaged)
	}
	if (File{Path: filepath.Join(s.Dir, "missing-eth0.json")}).IsDamaged() {
		t.Error("what is not there is damaged")
	}
}
