package main

import (
	"errors"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/jsonobject"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// reported tells the daemon how long a verb took and how it ended, once that
// is over.
func reported(verb string, run func(*protocol.Args) error) func(*protocol.Args) error {
	return func(args *protocol.Args) error {
		start := time.Now()
		err := run(args)
		var doc document
		_ = jsonobject.Decode(args.StdinData, jsonobject.Field{Name: "stateDir", Into: &doc.StateDir}) // what is wrong with it the verb has said
		doc.stateDir().Report(statedir.Request{Verb: verb, Code: code(err), Took: time.Since(start)})
		return err
	}
}

// code is the CNI error code, 0 without an error.
func code(err error) uint {
	var cni *types.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &cni):
		return cni.Code
	default:
		return types.ErrInternal
	}
}
