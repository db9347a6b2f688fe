package ipam

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A network from which ropeway-ipam gives addresses by itself has, once it holds some
// number of reservations, a directory that leads from an attachment to its addresses.
// Who knows no more than the attachment need not read every reservation then. Each
// attachment is a symbolic link, named by a digest, whose target lists addresses: it
// is made in one step, and host-local passes over it.
//
// A link is made before its reservations and removed after them, and is believed only
// where these are the attachment's; so one too many harms nobody. That none is missing
// is known by one more link, which says where the range sets left off, and when:
// host-local writes that with each address that it gives, and links that do not agree
// with it are removed. Without the directory nothing but time is lost.
const (
	holdersName = lastNamePrefix + "holders"
	// placesName is the link that says how far the others go.
	placesName = "places"
	// fewestLinked is the number of reservations below which reading them all is as quick.
	fewestLinked = 64
)

// holders is the directory of these links. What changes it needs the lock.
type holders struct {
	dir directory
}

func (h holders) path(name string) string { return filepath.Join(h.dir.path(holdersName), name) }

// areComplete tells whether every reservation can be found by its holder. Links of
// which that was once so, and is not, are removed: it might seem so again.
func (h holders) areComplete() bool {
	places, err := os.Readlink(h.path(placesName))
	if err != nil {
		return false
	}
	if places != h.dir.places() {
		h.drop()
		return false
	}
	return true
}

// places says where all range sets left off, and when.
func (d directory) places() string {
	text := []byte("places")
	for i := 0; ; i++ {
		info, err := os.Lstat(d.path(lastNamePrefix + strconv.Itoa(i)))
		if err != nil {
			return string(text)
		}
		text = fmt.Appendf(text, " %s@%d", d.last(i), info.ModTime().UnixNano())
	}
}

// find returns what the attachment is said to hold. Old versions of host-local named
// no interface.
func (h holders) find(holder Attachment) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range []Attachment{holder, {ContainerID: holder.ContainerID}} {
		target, err := os.Readlink(h.path(linkName(a)))
		if err != nil {
			continue
		}
		for text := range strings.SplitSeq(target, ",") {
			if a, ok := parseAddressName(text); ok {
				addrs = append(addrs, a)
			}
		}
	}
	return addrs
}

func linkName(holder Attachment) string {
	sum := sha256.Sum256(holder.content())
	return hex.EncodeToString(sum[:16])
}

// set makes the link of an attachment that is about to be given addresses. Where
// that fails there are no links rather than one too few.
func (h holders) set(holder Attachment, addrs []netip.Addr) {
	if h.replace(linkName(holder), targetOf(addrs)) != nil {
		h.drop()
	}
}

// follow says that the links go as far as the range sets do.
func (h holders) follow() {
	if h.replace(placesName, h.dir.places()) != nil {
		h.drop()
	}
}

func (h holders) replace(name, target string) error {
	err := os.Symlink(target, h.path(name))
	if errors.Is(err, fs.ErrExist) {
		if err = os.Remove(h.path(name)); err == nil {
			err = os.Symlink(target, h.path(name))
		}
	}
	return err
}

// forget removes the link of an attachment that has given its addresses back.
func (h holders) forget(holder Attachment) { _ = os.Remove(h.path(linkName(holder))) }

// drop removes the directory. What cannot be removed is not complete at least.
func (h holders) drop() {
	_ = os.Remove(h.path(placesName))
	_ = os.RemoveAll(h.dir.path(holdersName))
}

// build makes the directory out of all reservations. A failure is not worth failing
// for.
func (h holders) build(held []Reservation) {
	h.drop()
	if len(held) < fewestLinked || os.Mkdir(h.dir.path(holdersName), 0o700) != nil {
		return
	}
	by := map[Attachment][]netip.Addr{}
	for _, r := range held {
		by[r.Attachment] = append(by[r.Attachment], r.Address)
	}
	for holder, addrs := range by {
		if os.Symlink(targetOf(addrs), h.path(linkName(holder))) != nil {
			h.drop()
			return
		}
	}
	h.follow() // last: from here on they are believed
}

func targetOf(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

// heldBy returns the reservations among which those of an attachment are: its own
// alone where they can be found, else all.
func (d directory) heldBy(ctx context.Context, holder Attachment) (contents, error) {
	h := holders{d}
	if h.areComplete() {
		return d.readEach(h.find(holder))
	}
	c, err := d.scan(ctx)
	if err == nil {
		h.build(c.held)
	}
	return c, err
}
