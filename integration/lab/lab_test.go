package lab

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
)

func placeholders(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range binaries() {
		if err := os.WriteFile(dir+"/"+name, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestUnderlayCarriesBothFamiliesBetweenSubnets(t *testing.T) {
	l, err := New(t.Context(), Options{BinDir: placeholders(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, f := range []Families{IPv4, IPv6} {
		for _, dst := range []string{"n2", "n3"} {
			a := l.Node(dst).Address(f)
			out, err := l.Node("n1").Exec(t.Context(), "ping", "-c1", "-W1", a.String())
			if err != nil {
				t.Error(err)
			}
			fmt.Println(out)
		}
		out, err := l.Node("n1").Exec(t.Context(), "ping", "-c1", "-W1", WorldAddr(f).String())
		if err != nil {
			t.Error(err, out)
		}
	}
	_ = netip.Addr{}
}
