package disk

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
)

const (
	// chunkSize is the unit in which content is kept; what was never written
	// takes no room.
	chunkSize = 4096
	// sectorSize is what a disk writes whole or not at all.
	sectorSize = 512
)

// Event is a write, or a flush when it has no data.
type Event struct {
	Offset int64
	Data   []byte
}

// Disk is a disk in memory. Several goroutines may use it.
type Disk struct {
	size int64

	mu     sync.Mutex
	now    content
	base   content // what was there when recording began
	events []Event
}

type content map[int64][]byte

// Read makes a disk with the content of an image, which may be sparse.
func Read(path string) (*Disk, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d := &Disk{size: info.Size(), now: content{}}
	for offset := int64(0); offset < d.size; offset += chunkSize {
		chunk := make([]byte, chunkSize)
		if _, err := f.ReadAt(chunk, offset); err != nil && err != io.EOF {
			return nil, fmt.Errorf("read disk image: %w", err)
		}
		if !isZero(chunk) {
			d.now[offset] = chunk
		}
	}
	d.base = d.now.clone()
	return d, nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Size is the number of bytes of the disk.
func (d *Disk) Size() int64 { return d.size }

// ReadAt reads what was written last.
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := max(0, min(int64(len(p)), d.size-offset))
	d.now.read(p[:n], offset)
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// WriteAt writes, and remembers it.
func (d *Disk) WriteAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset+int64(len(p)) > d.size {
		return 0, fmt.Errorf("write %d bytes at %d: beyond the end of the disk at %d", len(p), offset, d.size)
	}
	e := Event{offset, append([]byte{}, p...)}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.write(e)
	d.events = append(d.events, e)
	return len(p), nil
}

// Flush makes all writes so far durable.
func (d *Disk) Flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, Event{})
}

// Events is the number of writes and flushes so far.
func (d *Disk) Events() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events)
}

// Flushes lists the events that are flushes.
func (d *Disk) Flushes() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	var flushes []int
	for i, e := range d.events {
		if e.Data == nil {
			flushes = append(flushes, i)
		}
	}
	return flushes
}

// Cut returns a disk as it is when the power is cut after so many events:
// what was flushed is there, and of what was written since, what the policy
// says.
func (d *Disk) Cut(events int, survives Policy) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := &Disk{size: d.size, now: d.base.clone()}
	flushed := -1
	for i, e := range d.events[:events] {
		if e.Data == nil {
			flushed = i
		}
	}
	for i, e := range d.events[:events] {
		if i > flushed {
			e = survives(e)
		}
		after.now.write(e)
	}
	after.base = after.now.clone()
	return after
}

// Policy says how much of a write survives that was not flushed: an event
// without data if nothing does.
type Policy func(Event) Event

// All lets every write survive.
func All(e Event) Event { return e }

// None lets no write survive.
func None(Event) Event { return Event{} }

// Some lets about half of the writes survive, some of them only to a sector in
// their middle.
func Some(random *rand.Rand) Policy {
	return func(e Event) Event {
		sectors := len(e.Data) / sectorSize
		switch random.IntN(8) {
		case 0, 1, 2:
			return e
		case 3:
			if sectors > 1 {
				return Event{e.Offset, e.Data[:sectorSize*(1+random.IntN(sectors-1))]}
			}
		}
		return Event{}
	}
}

// WriteFile writes the content into a new sparse file.
func (d *Disk) WriteFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(d.size); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for offset, chunk := range d.now {
		if _, err := f.WriteAt(chunk[:min(chunkSize, d.size-offset)], offset); err != nil {
			return err
		}
	}
	return f.Close()
}

// clone shares the chunks, which are never changed in place.
func (c content) clone() content {
	copied := make(content, len(c))
	for offset, chunk := range c {
		copied[offset] = chunk
	}
	return copied
}

func (c content) read(p []byte, offset int64) {
	for len(p) > 0 {
		start := offset - offset%chunkSize
		n := min(len(p), int(start+chunkSize-offset))
		if chunk, ok := c[start]; ok {
			copy(p[:n], chunk[offset-start:])
		} else {
			clear(p[:n])
		}
		p, offset = p[n:], offset+int64(n)
	}
}

func (c content) write(e Event) {
	data, offset := e.Data, e.Offset
	for len(data) > 0 {
		start := offset - offset%chunkSize
		chunk := make([]byte, chunkSize)
		copy(chunk, c[start])
		n := copy(chunk[offset-start:], data)
		c[start] = chunk
		data, offset = data[n:], offset+int64(n)
	}
}
