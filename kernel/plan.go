package kernel

import "strings"

// Plan is a list of operations in the order in which they must run. The zero
// Plan changes nothing.
type Plan struct {
	Ops []Op
}

// Op is one change of the kernel. All but [TableChange] are comparable structs.
type Op interface {
	// String prints the shell commands that do the same, one a line, without
	// a newline at the end.
	String() string
}

// Empty says that the plan changes nothing.
func (p Plan) Empty() bool { return len(p.Ops) == 0 }

// String prints a shell script that does what [Kernel.Apply] does, when it
// runs in the same network namespace. The empty plan is the empty string.
func (p Plan) String() string {
	var b strings.Builder
	for _, op := range p.Ops {
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}

func (p *Plan) add(op Op) { p.Ops = append(p.Ops, op) }
