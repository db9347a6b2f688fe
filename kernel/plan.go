package kernel

// Plan is a list of operations in the order in which they must run. The zero
// Plan changes nothing.
type Plan struct {
	Ops []Op
}

// Op is one change of the kernel.
type Op interface {
	// String prints the shell command that does the same.
	String() string
}
