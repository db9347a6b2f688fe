package main

import (
	"context"
	"os"
)

// program runs a program that touches nothing, over and over.
type program struct {
	title string
	path  string
	env   []string
	stdin []byte
}

// versionQuery asks a plugin which versions of the specification it speaks.
func versionQuery(plugin string) program {
	return program{
		title: "ropeway", path: plugin,
		env:   []string{"PATH=" + os.Getenv("PATH"), "CNI_COMMAND=VERSION"},
		stdin: []byte(`{"cniVersion":"1.0.0"}`),
	}
}

// emptyProgram is what starting any Go program costs.
func emptyProgram(path string) program {
	return program{title: "empty program", path: path}
}

func (p program) name() string { return p.title }

func (p program) round(ctx context.Context) ([]timing, error) {
	done, err := execute(ctx, p.path, p.env, p.stdin)
	if err != nil {
		return nil, err
	}
	return []timing{{"run", done.elapsed}}, nil
}

func (program) close() error { return nil }
