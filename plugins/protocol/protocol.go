// Package protocol is what Ropeway's plugins share of the CNI protocol: how
// they are called and fail, and the runtime's list of attachments that GC is to
// keep.
package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/ropeway-net/ropeway/jsonobject"
)

// Main runs the verb that the environment names and ends the process with code
// 1 if it fails, its error on standard output.
func Main(verbs Verbs, about string) {
	MainAs(verbs, version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"), about)
}

// MainAs is [Main] of a plugin that speaks other versions of the specification.
func MainAs(verbs Verbs, versions version.PluginInfo, about string) {
	// A runtime that went away must not kill the undoing of an ADD.
	signal.Ignore(syscall.SIGPIPE)
	growStack(0)
	p := Program{Verbs: verbs, Versions: versions, About: about}
	os.Exit(p.Run(Process{Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Path: os.Args[0]}))
}

// Verbs are what a plugin does.
type Verbs struct {
	Add, Del, Check, Status, GC func(*Args) error
}

// Program is a plugin. It does what package skel of the CNI project does, and
// beyond it: VERSION answers in the version that it was asked in, errors say
// which version they are of, as the specification has it, standard input is
// bounded, and a panic is an error like any other. That package also compiles
// patterns and reads Unicode tables at each start.
type Program struct {
	Verbs    Verbs
	Versions version.PluginInfo
	About    string // one line, for who calls the plugin by hand
}

// Process is what a run of a program has of its process.
type Process struct {
	Getenv         func(key string) string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Path           string // of the program; its directory stands in for CNI_PATH
}

// Run runs one verb and returns the exit code.
func (p Program) Run(in Process) (exit int) {
	command := in.Getenv("CNI_COMMAND")
	if command == "" {
		fmt.Fprintf(in.Stderr, "%s\nCNI versions: %v\n", p.About, p.Versions.SupportedVersions())
		if in.Getenv("CNI_CONTAINERID") == "" {
			return 0 // a person looks
		}
	}
	spoken := version.Current() // until the configuration says another
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(in.Stderr, "%s", debug.Stack())
			in.fail(spoken, types.NewError(types.ErrInternal, fmt.Sprintf("%s: the plugin panicked: %v; this is a bug: report it with what it wrote to standard error", command, r), ""))
			exit = 1
		}
	}()
	err := p.run(command, in, &spoken)
	if err == nil {
		return 0
	}
	in.fail(spoken, err)
	return 1
}

func (p Program) run(command string, in Process, spoken *string) *types.Error {
	stdin, err := readInput(in.Stdin)
	if err != nil {
		return err
	}
	conf, confErr := parseHeader(stdin)
	asked := conf.CNIVersion
	if p.supports(asked) {
		*spoken = asked
	}
	if command == "VERSION" {
		return p.printVersions(in, asked)
	}
	verb, known := p.verb(command)
	if !known {
		return types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_COMMAND: %q is none of ADD, DEL, CHECK, STATUS, GC and VERSION; the runtime must set it to one", command), "")
	}
	args, err := arguments(command, in, stdin)
	if err != nil {
		return err
	}
	var wrongType *jsonobject.TypeError
	switch {
	case errors.As(confErr, &wrongType) && wrongType.Field != "":
		return types.NewError(types.ErrDecodingFailure, fmt.Sprintf("network configuration: %v; correct it", confErr), "")
	case confErr != nil:
		return types.NewError(types.ErrDecodingFailure, fmt.Sprintf("network configuration: %v; it must be one JSON object: check it with: python3 -m json.tool", confErr), "")
	}
	if err := checkName(conf.Name); err != nil {
		return err
	}
	if !p.supports(asked) {
		return types.NewError(types.ErrIncompatibleCNIVersion, fmt.Sprintf("cniVersion %q is none of %v; set cniVersion to one of these", asked, p.Versions.SupportedVersions()), "")
	}
	if !reaches(asked, verb.since) {
		return types.NewError(types.ErrIncompatibleCNIVersion, fmt.Sprintf("cniVersion %q has no %s; set %s or later", asked, command, verb.since), "")
	}
	return codeOf(verb.run(args))
}

// verb is one command and the version that brought it.
type verb struct {
	run   func(*Args) error
	since string
}

func (p Program) verb(command string) (verb, bool) {
	v, ok := map[string]verb{
		"ADD": {p.Verbs.Add, "0.1.0"}, "DEL": {p.Verbs.Del, "0.1.0"}, "CHECK": {p.Verbs.Check, "0.4.0"},
		"STATUS": {p.Verbs.Status, "1.1.0"}, "GC": {p.Verbs.GC, "1.1.0"},
	}[command]
	return v, ok
}

func (p Program) supports(asked string) bool {
	return (&version.Reconciler{}).Check(asked, p.Versions) == nil
}

func reaches(asked, since string) bool {
	reached, err := version.GreaterThanOrEqualTo(asked, since)
	return err == nil && reached
}

// printVersions answers VERSION in the version of the question, as far as the
// plugin speaks it.
func (p Program) printVersions(in Process, asked string) *types.Error {
	if !p.supports(asked) {
		asked = version.Current()
	}
	b, err := json.Marshal(struct {
		CNIVersion        string   `json:"cniVersion"`
		SupportedVersions []string `json:"supportedVersions"`
	}{asked, p.Versions.SupportedVersions()})
	if err == nil {
		_, err = fmt.Fprintf(in.Stdout, "%s\n", b)
	}
	if err != nil {
		return types.NewError(types.ErrIOFailure, fmt.Sprintf("print the versions: %v", err), "")
	}
	return nil
}

// fail prints an error in the form of the specification, which has the version
// that the library's type lacks.
func (in Process) fail(spoken string, e *types.Error) {
	b, err := json.MarshalIndent(struct {
		CNIVersion string `json:"cniVersion"`
		Code       uint   `json:"code"`
		Msg        string `json:"msg"`
		Details    string `json:"details"`
	}{spoken, e.Code, e.Msg, e.Details}, "", "    ")
	if err == nil {
		_, err = fmt.Fprintf(in.Stdout, "%s\n", b)
	}
	if err != nil {
		fmt.Fprintln(in.Stderr, e, err)
	}
}

func codeOf(err error) *types.Error {
	if err == nil {
		return nil
	}
	var e *types.Error
	if errors.As(err, &e) {
		return e
	}
	return types.NewError(types.ErrInternal, err.Error(), "")
}

// pathOf is CNI_PATH, which the specification has as optional: without it the
// other plugins are where this one is.
func (in Process) pathOf() string {
	if path := in.Getenv("CNI_PATH"); path != "" {
		return path
	}
	return filepath.Dir(in.Path)
}
