package kernels

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"
)

// tailLines is how much of the console an error shows.
const tailLines = 60

// console takes what the guest writes to its serial line: it passes on what
// the command prints, line by line and without carriage returns, and notices
// the marks of the init script. What firmware and kernel print before the
// first mark is only kept for an error.
type console struct {
	mark   string
	output io.Writer
	booted chan struct{} // closed by the first mark
	ended  chan struct{} // closed by the last one

	mu       sync.Mutex
	pending  []byte // a line without its end
	tail     []string
	panic    string // the line with which the kernel gave up
	isBooted bool
	isEnded  bool
	code     int
}

func newConsole(mark string, output io.Writer) *console {
	if output == nil {
		output = io.Discard
	}
	return &console{mark: mark, output: output, booted: make(chan struct{}), ended: make(chan struct{})}
}

// Write never fails: the guest must not stop because nobody listens.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = append(c.pending, p...)
	for {
		end := bytes.IndexByte(c.pending, '\n')
		if end < 0 {
			return len(p), nil
		}
		line := strings.ReplaceAll(string(c.pending[:end]), "\r", "")
		c.pending = append(c.pending[:0], c.pending[end+1:]...)
		c.line(line)
	}
}

func (c *console) line(line string) {
	before, after, marked := strings.Cut(line, c.mark+" ")
	switch {
	case !marked:
		c.pass(line + "\n")
	case after == "boot" && !c.isBooted:
		c.isBooted, c.tail = true, nil
		close(c.booted)
	case strings.HasPrefix(after, "exit ") && !c.isEnded:
		// The command's last line may lack its end.
		c.pass(before)
		code, err := strconv.Atoi(strings.TrimPrefix(after, "exit "))
		if err != nil {
			return // a torn mark is a missing one
		}
		c.isEnded, c.code = true, code
		close(c.ended)
	}
}

func (c *console) pass(text string) {
	if c.isEnded || text == "" {
		return
	}
	if c.panic == "" && strings.Contains(text, "Kernel panic") {
		c.panic = strings.TrimSpace(text)
	}
	c.tail = append(c.tail, strings.TrimSuffix(text, "\n"))
	if len(c.tail) > tailLines {
		c.tail = c.tail[1:]
	}
	if c.isBooted {
		_, _ = io.WriteString(c.output, text)
	}
}

// exit returns the command's exit code, once the guest has told it.
func (c *console) exit() (code int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code, c.isEnded
}

// panicked returns the line with which the kernel gave up, if it did.
func (c *console) panicked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.panic
}

// last returns the end of what the guest printed.
func (c *console) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.tail
	if len(c.pending) > 0 {
		lines = append(lines[:len(lines):len(lines)], string(c.pending))
	}
	return strings.Join(lines, "\n")
}
