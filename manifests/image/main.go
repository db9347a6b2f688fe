// Command image builds Ropeway's container image: one OCI archive with an image
// for each architecture, from static binaries on nothing. It needs the Go
// toolchain and no container engine, and makes the same bytes from the same
// source every time.
//
//	go run ./manifests/image -version v1.2.3
//	ctr -n k8s.io images import build/image/ropeway-v1.2.3.tar
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// sizeLimit is what one architecture may weigh compressed, bytes.
const sizeLimit = 30_000_000

// options are the command line.
type options struct {
	Repository string   // without tag
	Version    string   // stamped into the binaries; the first tag
	Tags       []string // further tags of the same image
	Arches     []string // Go's names, sorted
	Source     string   // the module's directory
	Output     string   // the directory of the archive
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parseOptions(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		stop()
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var tags, arches string
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&o.Repository, "repository", "ghcr.io/ropeway-net/ropeway", "name of the image without tag")
	flags.StringVar(&o.Version, "version", "unknown", "version, and first tag")
	flags.StringVar(&tags, "tags", "", "further tags of the same image, separated by commas")
	flags.StringVar(&arches, "arch", "amd64,arm64", "architectures, separated by commas")
	flags.StringVar(&o.Source, "source", ".", "directory of the module")
	flags.StringVar(&o.Output, "output", "build/image", "directory of the archive")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	o.Tags, o.Arches = list(tags), list(arches)
	if len(o.Arches) == 0 {
		return options{}, errors.New("-arch names no architecture; give for instance -arch amd64")
	}
	for _, tag := range append([]string{o.Version}, o.Tags...) {
		if err := checkTag(tag); err != nil {
			return options{}, err
		}
	}
	return o, nil
}

// list splits at commas; sorted and each once, because order would change the
// digest.
func list(s string) []string {
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(words)
	return slices.Compact(words)
}

// run builds, writes the archive and says what is in it.
func run(ctx context.Context, o options) error {
	work, err := os.MkdirTemp("", "ropeway-image-")
	if err != nil {
		return fmt.Errorf("directory for the binaries: %w", err)
	}
	defer os.RemoveAll(work)
	var platforms []platform
	for _, arch := range o.Arches {
		dir := filepath.Join(work, arch)
		if err = compile(ctx, o, arch, dir); err != nil {
			return err
		}
		platforms = append(platforms, platform{Arch: arch, Dir: dir})
	}
	made, err := assemble(o, platforms)
	if err != nil {
		return err
	}
	path := filepath.Join(o.Output, "ropeway-"+o.Version+".tar")
	if err := made.write(path); err != nil {
		return err
	}
	fmt.Printf("%s\n", path)
	made.print(os.Stdout)
	return made.oversize(sizeLimit)
}
