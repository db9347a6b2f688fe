package disk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func newDisk(t *testing.T) *Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, bytes.Repeat([]byte{'.'}, 2*chunkSize), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t *testing.T, d *Disk, letter byte, offset int64) {
	t.Helper()
	if _, err := d.WriteAt(bytes.Repeat([]byte{letter}, 2*sectorSize), offset); err != nil {
		t.Fatal(err)
	}
}

// letters are the first bytes of the disk's first sectors.
func letters(d *Disk) string {
	b := make([]byte, 6*sectorSize)
	_, _ = d.ReadAt(b, 0)
	var s []byte
	for i := 0; i < len(b); i += sectorSize {
		s = append(s, b[i])
	}
	return string(s)
}

func TestCutKeepsWhatWasFlushedAndOfTheRestWhatThePolicySays(t *testing.T) {
	d := newDisk(t)
	write(t, d, 'a', 0)
	d.Flush()
	write(t, d, 'b', sectorSize)
	write(t, d, 'c', 3*sectorSize)
	for name, c := range map[string]struct {
		events int
		policy Policy
		want   string
	}{
		"before anything":             {0, None, "......"},
		"before the flush, none":      {1, None, "......"},
		"before the flush, all":       {1, All, "aa...."},
		"at the flush":                {2, None, "aa...."},
		"after it, none":              {4, None, "aa...."},
		"after it, all":               {4, All, "abbcc."},
		"after it, the first not":     {4, only('c'), "aa.cc."},
		"after it, a sector of the c": {4, half('c'), "aa.c.."},
	} {
		t.Run(name, func(t *testing.T) {
			after := d.Cut(c.events, c.policy)
			if got := letters(after); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if again := letters(after.Cut(0, All)); again != c.want {
				t.Errorf("as the beginning of another recording: got %s, want %s", again, c.want)
			}
		})
	}
	if got := letters(d); got != "abbcc." {
		t.Errorf("the disk itself became %s", got)
	}
}

func only(letter byte) Policy {
	return func(e Event) Event {
		if len(e.Data) > 0 && e.Data[0] == letter {
			return e
		}
		return Event{}
	}
}

func half(letter byte) Policy {
	return func(e Event) Event {
		e = only(letter)(e)
		return Event{e.Offset, e.Data[:len(e.Data)/2]}
	}
}

func TestSomeKeepsDropsAndTears(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	whole := Event{0, make([]byte, 8*sectorSize)}
	seen := map[string]bool{}
	for range 200 {
		switch n := len(Some(random)(whole).Data); {
		case n == 0:
			seen["dropped"] = true
		case n == len(whole.Data):
			seen["kept"] = true
		case n%sectorSize == 0:
			seen["torn"] = true
		default:
			t.Fatalf("%d bytes survive, which is no number of sectors", n)
		}
	}
	if len(seen) != 3 {
		t.Errorf("only %v happens", seen)
	}
}

func TestFileHoldsTheContent(t *testing.T) {
	d := newDisk(t)
	write(t, d, 'a', sectorSize)
	path := filepath.Join(t.TempDir(), "copy")
	if err := d.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	back, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if letters(back) != ".aa..." || back.Size() != d.Size() {
		t.Errorf("read back %s of %d bytes", letters(back), back.Size())
	}
}

func TestWriteBeyondTheEndIsRefused(t *testing.T) {
	d := newDisk(t)
	if _, err := d.WriteAt([]byte{1}, d.Size()); err == nil || d.Events() != 0 {
		t.Errorf("error %v, %d events", err, d.Events())
	}
}
