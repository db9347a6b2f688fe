package endpoint

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func claim(t *testing.T, s Store, id string) *Claim {
	t.Helper()
	c, err := s.Claim(id, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// kill leaves the claim as the end of a process does.
func (c *Claim) kill(t *testing.T) {
	t.Helper()
	if err := c.file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestClaimedRecordIsReadBackAndLeavesNoOtherFile(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "made")}
	c := claim(t, s, "a")
	want := record("a", "eth0")
	if err := errors.Join(c.Write(want), c.Release()); err != nil {
		t.Fatal(err)
	}
	got, err := s.Read("a", "eth0")
	if d := diff(want, got); err != nil || d != "" || c.Interrupted {
		t.Errorf("error %v, interrupted %v, record (-want +got):\n%s", err, c.Interrupted, d)
	}
	if d := diff([]string{"a-eth0.json"}, files(t, s.Dir)); d != "" {
		t.Error(d)
	}
	if err := claim(t, s, "a").Write(want); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second record of the attachment: %v", err)
	}
}

func TestLiveClaimKeepsOthersOut(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	c := claim(t, s, "a")
	if _, err := s.Claim("a", "eth0"); !errors.Is(err, ErrBusy) {
		t.Errorf("error %v, want ErrBusy", err)
	}
	claim(t, s, "b")
	if records, err := s.Unfinished(); len(records) != 0 || err != nil {
		t.Errorf("%v, %v", records, err)
	}
	if err := c.Write(record("b", "eth0")); err == nil {
		t.Error("the record of another attachment was written")
	}
	if err := errors.Join(c.Release(), claim(t, s, "a").Release()); err != nil {
		t.Error(err)
	}
}

func TestKilledClaimIsTakenOverAndToldOf(t *testing.T) {
	for name, written := range map[string]bool{"before the record": false, "after the record": true} {
		t.Run(name, func(t *testing.T) {
			s := Store{Dir: t.TempDir()}
			c := claim(t, s, "a")
			if written {
				if err := c.Write(record("a", "eth0")); err != nil {
					t.Fatal(err)
				}
			}
			c.kill(t)
			next := claim(t, s, "a")
			if !next.Interrupted {
				t.Error("nobody would know that the first one was killed")
			}
			if _, err := s.Read("a", "eth0"); errors.Is(err, ErrNotFound) == written || errors.Is(err, ErrDamaged) {
				t.Errorf("record: %v", err)
			}
			if err := errors.Join(s.Remove("a", "eth0"), next.Release()); err != nil {
				t.Error(err)
			}
			if left := files(t, s.Dir); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestUnfinishedNamesWhatWasKilledAndRemovesWhatNamesNobody(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	torn := claim(t, s, "torn")
	whole := claim(t, s, "whole")
	if err := whole.Write(record("whole", "eth0")); err != nil {
		t.Fatal(err)
	}
	torn.kill(t)
	whole.kill(t)
	if err := os.Remove(filepath.Join(s.Dir, "whole-eth0.json")); err != nil {
		t.Fatal(err)
	}
	records, err := s.Unfinished()
	if err != nil || len(records) != 1 || records[0].ContainerID != "whole" {
		t.Errorf("%v, %v", records, err)
	}
	if err := s.Remove("whole", "eth0"); err != nil {
		t.Error(err)
	}
	if left := files(t, s.Dir); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestWhatIsNoFileIsNoClaim(t *testing.T) {
	make := map[string]func(path string) error{
		"pipe":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"symbolic link": func(path string) error { return os.Symlink("/dev/zero", path) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"socket": func(path string) error {
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
			if err != nil {
				return err
			}
			return errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Close(fd))
		},
	}
	for name, drop := range make {
		t.Run(name, func(t *testing.T) {
			s := Store{Dir: t.TempDir()}
			path := filepath.Join(s.Dir, ".tmp-a-eth0.json")
			if err := drop(path); err != nil {
				t.Fatal(err)
			}
			c := claim(t, s, "a")
			if !c.Interrupted {
				t.Error("nobody is told that something stood there")
			}
			c.Interrupted = false
			if err := errors.Join(c.Release(), drop(path)); err != nil {
				t.Fatal(err)
			}
			if records, err := s.Unfinished(); len(records) != 0 || err != nil {
				t.Errorf("%v, %v", records, err)
			}
			if left := files(t, s.Dir); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}
