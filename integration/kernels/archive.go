package kernels

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// archive is a guest's file system, written in cpio's "newc" format, which
// the kernel unpacks at boot (Documentation/driver-api/early-userspace/
// buffer-format.rst). It is not compressed: an emulated processor would spend
// longer on unpacking than qemu on loading.
type archive struct {
	entries map[string]entry // by absolute, usr-merged path
}

// entry is one file: a directory, a symbolic link or a regular file whose
// content is in memory or on the host.
type entry struct {
	mode uint32 // type and permissions as stat(2) has them
	data []byte // content or link target
	host string // path on the host that holds the content, instead of data
	size int64
}

const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

func newArchive() *archive {
	a := &archive{entries: map[string]entry{}}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		a.mkdir("/usr/" + dir)
		a.entries["/"+dir] = entry{mode: typeLink | 0o777, data: []byte("usr/" + dir)}
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/root", "/etc", "/var/lib", "/run", "/tmp"} {
		a.mkdir(dir)
	}
	return a
}

// merged maps a path to where it lives in a file system whose /bin, /sbin and
// /lib are links into /usr, whatever the host looks like.
func merged(name string) string {
	name = path.Clean("/" + name)
	top, rest, _ := strings.Cut(name[1:], "/")
	switch top {
	case "bin", "sbin", "lib", "lib64":
		return path.Join("/usr", top, rest)
	}
	return name
}

func (a *archive) mkdir(name string) {
	for name = merged(name); name != "/"; name = path.Dir(name) {
		if _, ok := a.entries[name]; !ok {
			a.entries[name] = entry{mode: typeDir | 0o755}
		}
	}
}

func (a *archive) has(name string) bool {
	_, ok := a.entries[merged(name)]
	return ok
}

func (a *archive) put(name string, e entry) {
	name = merged(name)
	a.mkdir(path.Dir(name))
	a.entries[name] = e
}

// text adds a file with the given content.
func (a *archive) text(name, content string, perm uint32) {
	a.put(name, entry{mode: typeFile | perm, data: []byte(content), size: int64(len(content))})
}

// link adds a symbolic link.
func (a *archive) link(name, target string) {
	a.put(name, entry{mode: typeLink | 0o777, data: []byte(target)})
}

// copy adds a file or, with everything below it, a directory of the host.
// Links below a directory stay links; host itself may be one.
func (a *archive) copy(name, host string) error {
	host, err := filepath.EvalSymlinks(host)
	if err != nil {
		return err
	}
	return filepath.WalkDir(host, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(host, p)
		if err != nil {
			return err
		}
		return a.copyOne(path.Join(name, filepath.ToSlash(rel)), p, d)
	})
}

func (a *archive) copyOne(name, host string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		a.mkdir(name)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(host)
		if err != nil {
			return err
		}
		a.link(name, target)
	case info.Mode().IsRegular():
		perm := uint32(0o644)
		if info.Mode()&0o111 != 0 {
			perm = 0o755
		}
		a.put(name, entry{mode: typeFile | perm, host: host, size: info.Size()})
	default:
		return fmt.Errorf("%s is neither a file, a directory nor a link; leave it out", host)
	}
	return nil
}

// write puts the archive out, parents before what they hold.
func (a *archive) write(w io.Writer) error {
	names := make([]string, 0, len(a.entries))
	for name := range a.entries {
		names = append(names, name)
	}
	sort.Strings(names)
	out := bufio.NewWriterSize(w, 1<<20)
	for i, name := range names {
		if err := writeEntry(out, i+1, name[1:], a.entries[name]); err != nil {
			return fmt.Errorf("write %s to the initramfs: %w", name, err)
		}
	}
	if err := writeEntry(out, 0, "TRAILER!!!", entry{}); err != nil {
		return err
	}
	return out.Flush()
}

func writeEntry(w io.Writer, inode int, name string, e entry) error {
	content, size := io.Reader(bytes.NewReader(e.data)), int64(len(e.data))
	if e.host != "" {
		f, err := os.Open(e.host)
		if err != nil {
			return err
		}
		defer f.Close()
		content, size = f, e.size
	}
	if size >= 1<<32 {
		return fmt.Errorf("%d bytes do not fit into the format", size)
	}
	// magic, inode, mode, uid, gid, links, mtime, size, four device numbers,
	// length of the name with its NUL, checksum (unused).
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, e.mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	if _, err := io.WriteString(w, header+padding(int64(len(header)))); err != nil {
		return err
	}
	// A file that changed its length meanwhile must not shift what follows.
	if _, err := io.CopyN(w, content, size); err != nil {
		return err
	}
	_, err := io.WriteString(w, padding(size))
	return err
}

func padding(n int64) string { return "\x00\x00\x00"[:(4-n%4)%4] }
