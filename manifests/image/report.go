package main

import (
	"fmt"
	"io"
)

// print says what is in the image.
func (c content) print(w io.Writer) {
	digest, err := c.Index.Digest()
	if err != nil {
		fmt.Fprintf(w, "digest unknown: %v\n", err)
		return
	}
	for _, name := range c.Names {
		fmt.Fprintf(w, "%s@%s\n", name, digest)
	}
	for _, p := range c.Parts {
		fmt.Fprintf(w, "linux/%s: %.1f MB compressed\n", p.Arch, float64(p.Size)/1e6)
		for _, f := range p.Files {
			fmt.Fprintf(w, "  %-14s %6.1f MB\n", f.Name, float64(f.Size)/1e6)
		}
	}
}

// oversize names the first architecture that weighs more than limit, bytes.
func (c content) oversize(limit int64) error {
	for _, p := range c.Parts {
		if p.Size > limit {
			return fmt.Errorf("linux/%s: %d bytes compressed, limit %d; look at what the binaries import", p.Arch, p.Size, limit)
		}
	}
	return nil
}
