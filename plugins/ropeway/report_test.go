package main

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

func TestVerbIsReportedWithItsOutcome(t *testing.T) {
	dir := statedir.Dir(t.TempDir())
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir.RequestsSocket(), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tc := range []struct {
		name string
		err  error
		code uint
	}{
		{"served", nil, 0},
		{"refused", types.NewError(11, "later", ""), 11},
		{"failed in a way that has no code", errors.New("x"), types.ErrInternal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verb := reported("ADD", func(*protocol.Args) error { return tc.err })
			if err := verb(&protocol.Args{StdinData: []byte(`{"name":"x","mtu":"no number","stateDir":"` + string(dir) + `"}`)}); !errors.Is(err, tc.err) {
				t.Errorf("the verb's error becomes %v", err)
			}
			if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 2*statedir.MaxRequest)
			n, err := l.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got, err := statedir.ParseRequest(buf[:n])
			if err != nil || got.Verb != "ADD" || got.Code != tc.code {
				t.Errorf("reported %q, %v", buf[:n], err)
			}
		})
	}
}
