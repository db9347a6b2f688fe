package endpoint

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ropeway-net/ropeway/kernel"
)

func record(id, ifName string) Record {
	return Record{
		BootID: "boot", ContainerID: id, IfName: ifName, Network: "demo", Netns: "/var/run/netns/" + id,
		Pod: Pod{Namespace: "default", Name: "web", UID: "1"}, HostLink: HostLink(id, ifName),
		MAC: kernel.MAC{2, 0, 0x5e, 0x10, 0, 1}, MTU: 1450,
		Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd01::2")},
		Sources:   []netip.Addr{netip.MustParseAddr("10.1.0.1")},
		IPAM:      IPAM{Type: "static", Config: []byte(`{"name":"demo"}`)},
		Created:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func diff(a, b any) string { return cmp.Diff(a, b, cmpopts.EquateComparable(netip.Addr{})) }

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "endpoints")}
	want := record("a", "eth0")
	if err := s.Write(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Read("a", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(want, got); d != "" {
		t.Errorf("record (-want +got):\n%s", d)
	}
	if err := s.Remove("a", "eth0"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("a", "eth0"); err != nil {
		t.Errorf("second removal: %v", err)
	}
	if _, err := s.Read("a", "eth0"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
}

func TestEmptyStoreListsNothing(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "missing")}
	if records, err := s.List(); err != nil || len(records) != 0 {
		t.Errorf("%v, %v", records, err)
	}
	if err := s.Remove("a", "eth0"); err != nil {
		t.Errorf("removal without a directory: %v", err)
	}
}

func TestDamagedRecordDoesNotHideTheOthers(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	for _, r := range []Record{record("a", "eth0"), record("c", "eth0")} {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"b-eth0.json": "{", ".tmp-x-eth0.json.123": "{", ".tmp-y-eth0.json": "{", "notes.txt": "hello"} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	records, err := s.List()
	if len(records) != 2 || records[0].ContainerID != "a" || records[1].ContainerID != "c" {
		t.Errorf("records %v", records)
	}
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "b-eth0.json") || !strings.Contains(err.Error(), "remove the file") || strings.Contains(err.Error(), ".tmp-") {
		t.Errorf("error %v, want it to name b-eth0.json alone", err)
	}
}

func TestDroppingWhatIsDamagedLeavesRecordsAndClaims(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if err := s.Write(record("a", "eth0")); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"torn-eth0.json": "{", "empty-eth0.json": "", "zero-eth0.json": "\x00\x00", ".tmp-y-eth0.json": "", "notes.txt": ""} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dropped, err := s.DropDamaged()
	if len(dropped) != 3 || err != nil {
		t.Errorf("dropped %v, %v; want three", dropped, err)
	}
	if left, err := os.ReadDir(s.Dir); err != nil || len(left) != 3 {
		t.Errorf("left are %v, %v; want the record, the notes and the claim", left, err)
	}
}

func TestWhatIsNoFileIsADamagedRecord(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if err := s.Write(record("good", "eth0")); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(
		os.Symlink("/dev/zero", filepath.Join(s.Dir, "endless-eth0.json")),
		syscall.Mkfifo(filepath.Join(s.Dir, "pipe-eth0.json"), 0o600),
		os.Mkdir(filepath.Join(s.Dir, "directory-eth0.json"), 0o755),
		os.WriteFile(filepath.Join(s.Dir, "large-eth0.json"), make([]byte, mostBytes+1), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	records, err := s.List()
	if len(records) != 1 || err == nil {
		t.Errorf("%d records, error %v", len(records), err)
	}
	for _, id := range []string{"endless", "pipe", "directory", "large"} {
		if err == nil || !strings.Contains(err.Error(), id+"-eth0.json") {
			t.Errorf("%s is not named: %v", id, err)
		}
		if _, err := s.Read(id, "eth0"); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want %v, so that DEL goes on", id, err, ErrDamaged)
		}
	}
}

func TestRecordOfAnotherAttachmentIsNotTakenForItsOwn(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if err := s.Write(record("a", "b-c")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read("a-b", "c"); !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v, want ErrDamaged", err)
	}
}

func TestNamesThatCannotBeFilesAreRefused(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	for _, name := range [][2]string{{"../a", "eth0"}, {"", "eth0"}, {"a", ""}, {"a", "eth/0"}, {".a", "eth0"}, {"a", ".."}, {strings.Repeat("a", 256), "eth0"}} {
		if _, err := s.Read(name[0], name[1]); !errors.Is(err, ErrName) {
			t.Errorf("Read(%q): %v, want ErrName", name, err)
		}
		if err := s.Remove(name[0], name[1]); !errors.Is(err, ErrName) {
			t.Errorf("Remove(%q): %v, want ErrName", name, err)
		}
		if err := s.Write(record(name[0], name[1])); err == nil {
			t.Errorf("Write(%q) succeeded", name)
		}
	}
}

func TestHostLinksDifferAndFitTheKernel(t *testing.T) {
	seen := map[string][2]string{}
	for _, a := range [][2]string{{"a", "eth0"}, {"a", "eth1"}, {"b", "eth0"}, {"ae", "th0"}} {
		link := HostLink(a[0], a[1])
		if len(link) != 15 || !strings.HasPrefix(link, kernel.PodLinkPrefix) {
			t.Errorf("host link %q", link)
		}
		if other, taken := seen[link]; taken {
			t.Errorf("%v and %v share %s", a, other, link)
		}
		seen[link] = a
	}
}

func FuzzParseRecord(f *testing.F) {
	link := HostLink("a", "eth0")
	for _, seed := range []string{
		`{"bootID":"b","containerID":"a","ifName":"eth0","hostLink":"` + link + `","mac":"02:00:5e:10:00:01","addresses":["10.1.0.2","fd01::2"]}`,
		`{"bootID":"b","containerID":"a","ifName":"eth0","hostLink":"` + link + `","addresses":["fe80::1%eth0"]}`,
		`{"bootID":"b","containerID":"a","ifName":"eth0","hostLink":"` + link + `","ipam":{"type":"x","config":{}}}`,
		`{"containerID":"../a"}`, `{"mac":"01:00:5e:00:00:01"}`, `{"addresses":["::ffff:10.0.0.1"]}`, `{`, ``, `null`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("error %v is not ErrDamaged", err)
			}
			return
		}
		// What was read can be written, and is read in the same way.
		s := Store{Dir: t.TempDir()}
		if err = s.Write(r); err != nil {
			if errors.Is(err, ErrName) {
				return
			}
			t.Fatalf("write %+v: %v", r, err)
		}
		again, err := s.Read(r.ContainerID, r.IfName)
		if err != nil {
			t.Fatalf("read %+v again: %v", r, err)
		}
		if again.HostLink != r.HostLink || again.MAC != r.MAC || diff(r.Addresses, again.Addresses) != "" && len(r.Addresses) > 0 {
			t.Errorf("read %+v, then %+v", r, again)
		}
	})
}

func TestRecordsWithHostPortsAreListedAlone(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	with := full()
	without := record("other", "eth0")
	for _, r := range []Record{with, without} {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "damaged-eth0.json"), []byte(`{"hostPorts"`), 0o600); err != nil {
		t.Fatal(err)
	}
	listed, err := s.WithHostPorts()
	if len(listed) != 1 || listed[0].ContainerID != with.ContainerID {
		t.Errorf("%+v", listed)
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
}
