package main

import "fmt"

// held are the numbers of reservations that the network holds already.
func held() []int { return []int{10, 250, 5000, 60000} }

// reservationComparison is about what one more pod costs when the network
// holds many addresses. The reference reads them all, each time.
func reservationComparison(b binaries) comparison {
	c := comparison{
		name:   "reservations",
		what:   "ADD, CHECK and DEL with other pods' reservations",
		rounds: extent{60, 12}, seconds: extent{60, 12}, warmUp: 1,
	}
	for _, n := range held() {
		c.sides = append(c.sides, ours(b, fmt.Sprintf("ropeway at %d", n), setting{reservations: n}))
	}
	for i, n := range held() {
		peer := ofPtp(b, fmt.Sprintf("ptp at %d", n), setting{reservations: n})
		if n > 10000 {
			peer.most = extent{10, 2}
		}
		c.sides = append(c.sides, peer)
		if i > 0 {
			c.rows = append(c.rows,
				row{fmt.Sprintf("add-at-%d", n), stepAdd, i, 0, latency},
				row{fmt.Sprintf("check-at-%d", n), stepCheck, i, 0, latency},
				row{fmt.Sprintf("del-at-%d", n), stepDel, i, 0, latency})
		}
		c.rows = append(c.rows,
			row{fmt.Sprintf("add-at-%d-vs-ptp", n), stepAdd, i, len(held()) + i, latency},
			row{fmt.Sprintf("del-at-%d-vs-ptp", n), stepDel, i, len(held()) + i, latency})
	}
	return c
}

// crowd is how many pods start at a time, in rounds of how many.
type crowd struct {
	width, batch    int
	rounds, seconds extent
}

func crowds() []crowd {
	return []crowd{
		{8, 64, extent{8, 3}, extent{25, 6}},
		{32, 96, extent{8, 3}, extent{30, 8}},
		{256, 256, extent{6, 3}, extent{60, 12}},
	}
}

// parallelComparisons start many pods at a time. Calls that fail are counted.
func parallelComparisons(b binaries) []comparison {
	var all []comparison
	for _, n := range crowds() {
		s := setting{batch: n.batch, width: n.width}
		c := comparison{
			name:   fmt.Sprintf("parallel-%d", n.width),
			what:   fmt.Sprintf("ADD, then DEL, of %d pods, %d at a time", n.batch, n.width),
			sides:  []side{ours(b, "ropeway", s), ofPtp(b, "ptp", s)},
			rounds: n.rounds, seconds: n.seconds, warmUp: 1,
			rows: []row{
				{fmt.Sprintf("add-parallel-%d", n.width), stepAdd, 0, 1, rate},
				{fmt.Sprintf("del-parallel-%d", n.width), stepDel, 0, 1, rate},
				{fmt.Sprintf("del-until-gone-parallel-%d", n.width), stepGone, 0, 1, rate},
			},
		}
		if n.width == 32 {
			c.sides = append(c.sides, ofBridge(b, s))
			c.rows = append(c.rows, row{fmt.Sprintf("add-parallel-%d-vs-bridge", n.width), stepAdd, 0, 2, rate})
		}
		all = append(all, c)
	}
	return all
}
