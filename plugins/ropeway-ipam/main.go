// ropeway-ipam is Ropeway's allocator as an IPAM plugin of its own, for main
// plugins such as ptp and bridge. Its configuration is host-local's; where that
// names no range, the node's pod CIDRs come from the node.json that ropewayd
// writes.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"os"
	"time"

	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/plugins/protocol"
	"github.com/ropeway-net/ropeway/statedir"
)

// deadline is for a whole verb, most of which may pass waiting for the lock.
const deadline = 10 * time.Second

func main() {
	p := plugin{bootID: statedir.BootID, stdout: os.Stdout}
	protocol.Main(protocol.Verbs{
		Add:    verb(p.add),
		Del:    verb(p.del),
		Check:  verb(p.check),
		Status: verb(p.status),
		GC:     verb(p.gc),
	}, "CNI plugin ropeway-ipam: addresses of one node's pods")
}

// verb gives a method its deadline and its error the CNI code.
func verb(run func(context.Context, *protocol.Args) error) func(*protocol.Args) error {
	return func(args *protocol.Args) error {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := run(ctx, args); err != nil {
			return ipam.CNIError(err)
		}
		return nil
	}
}
