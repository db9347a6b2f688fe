package main

import (
	"context"
	"net/netip"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

func freedIn(dir statedir.Dir) endpoint.Freed { return endpoint.Freed{Path: dir.FreedFile()} }

// notingAllocator notes addresses before it gives them back.
type notingAllocator struct {
	allocator
	freed     endpoint.Freed
	addresses []netip.Addr
}

// noting is the allocator of a record for detaching it.
func noting(dir statedir.Dir, rec endpoint.Record, source allocator) allocator {
	return notingAllocator{source, freedIn(dir), rec.Addresses}
}

func (a notingAllocator) release(ctx context.Context) error {
	_ = a.freed.Note(a.addresses) // no reason to keep an address for ever
	return a.allocator.release(ctx)
}

// forgetPredecessor makes the node forget the flows of a pod that had the
// addresses lately, before the link of the one that gets them now is up: its
// answers would go where that one's went, and what was allowed to reach that one
// would reach it. Neighbours need nothing: a pod's addresses are known by a
// permanent neighbour of its own link alone.
func forgetPredecessor(ctx context.Context, dir statedir.Dir, addresses []netip.Addr) error {
	freed := freedIn(dir)
	lately, err := freed.Lately(addresses)
	if err != nil || len(lately) == 0 {
		return nil // a file that cannot be read is no reason to attach no pod
	}
	if _, err := kernel.ForgetAddresses(ctx, lately); err != nil {
		return kernelError(err)
	}
	_ = freed.Forget(lately) // if not, the next pod with the address does it again
	return nil
}
