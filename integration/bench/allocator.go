package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// allocator calls an IPAM plugin by itself, as other main plugins do.
type allocator struct{ *attacher }

func (a allocator) round(ctx context.Context) ([]sample, error) {
	pod := a.attachments()[0]
	add, del := sample{step: stepAdd}, sample{step: stepDel}
	add.add(a.network.add(ctx, pod))
	del.add(a.network.del(ctx, pod))
	return []sample{add, del}, errors.Join(add.failure, del.failure)
}

// alone is an IPAM plugin in a network that holds reservations.
func alone(b binaries, kind string, reservations int) side {
	title := fmt.Sprintf("%s at %d", kind, reservations)
	return side{title: title, open: func(context.Context) (contender, error) {
		a, err := setting{reservations: reservations}.attacher(title, b.states)
		if err != nil {
			return nil, err
		}
		networks := filepath.Join(a.state, "networks")
		a.network.plugins, err = plugins(b.dir, "bench", map[string]any{
			"type": kind, "ipam": map[string]any{"type": kind, "dataDir": networks, "ranges": [][]map[string]string{{{"subnet": pods4}}}},
		})
		if err == nil {
			err = fill(filepath.Join(networks, "bench"), pods4, reservations)
		}
		if err == nil {
			err = a.prepare()
		}
		if err != nil {
			return nil, errors.Join(err, a.close())
		}
		return allocator{a}, nil
	}}
}

// allocatorComparison is about what an address costs when the network holds many.
func allocatorComparison(b binaries) comparison {
	const few, many = 10, 60000
	c := comparison{
		name:   "allocator",
		what:   "ADD and DEL of the IPAM plugins by themselves",
		sides:  []side{alone(b, "ropeway-ipam", few), alone(b, "ropeway-ipam", many), alone(b, "host-local", few), alone(b, "host-local", many)},
		rounds: extent{60, 12}, seconds: extent{25, 6}, warmUp: 2,
		rows: []row{
			{"ipam-add-vs-host-local", stepAdd, 0, 2, latency},
			{"ipam-del-vs-host-local", stepDel, 0, 2, latency},
			{"ipam-add-at-60000", stepAdd, 1, 0, latency},
			{"ipam-del-at-60000", stepDel, 1, 0, latency},
			{"ipam-add-at-60000-vs-host-local", stepAdd, 1, 3, latency},
			{"ipam-del-at-60000-vs-host-local", stepDel, 1, 3, latency},
		},
	}
	c.sides[3].most = extent{8, 2}
	return c
}
