package kernel

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Culprit is a process that changed what Ropeway owns.
type Culprit struct {
	PID     int
	Program string // "" when it had ended before it could be looked at
}

// String is for people.
func (c Culprit) String() string {
	if c.Program == "" {
		return fmt.Sprintf("a program that has ended (pid %d)", c.PID)
	}
	return fmt.Sprintf("%s (pid %d)", c.Program, c.PID)
}

// mostCulprits bounds how many are remembered.
const mostCulprits = 8

// ownPrograms begins the names of our own programs, whose changes are none of
// others'.
const ownPrograms = "ropeway"

// process is what /proc/<pid>/status says.
type process struct {
	name     string
	innerPID int  // the PID in the innermost namespace, which its sockets know
	thread   bool // a thread of the kernel
}

func parseProcessStatus(status []byte) (p process, ok bool) {
	memory := false
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Name":
			p.name = value
		case "VmSize":
			memory = true
		case "NSpid":
			pids := strings.Fields(value)
			if len(pids) > 0 {
				p.innerPID, _ = strconv.Atoi(pids[len(pids)-1])
			}
		}
	}
	p.thread = !memory
	return p, p.name != ""
}
