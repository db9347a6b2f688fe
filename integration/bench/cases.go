package main

import "context"

// comparisons are all that there are, in the order in which they run.
func comparisons(b binaries) []comparison {
	return append([]comparison{
		attachComparison(b), dualComparison(b), dualOverSingleComparison(b),
		masqueradeComparison(b), hostPortComparison(b), statusComparison(b),
		reservationComparison(b), allocatorComparison(b), withoutDaemonComparison(b), versionComparison(b),
	}, parallelComparisons(b)...)
}

// ours, ofPtp and ofBridge are sides with a setting.
func ours(b binaries, title string, s setting) side {
	return side{title: title, open: func(ctx context.Context) (contender, error) { return opened(ropeway(ctx, b, title, s)) }}
}

func ofPtp(b binaries, title string, s setting) side {
	return side{title: title, open: func(context.Context) (contender, error) { return opened(ptp(b, title, s)) }}
}

func ofBridge(b binaries, s setting) side {
	const title = "bridge"
	return side{title: title, open: func(context.Context) (contender, error) { return opened(bridge(b, title, s)) }}
}

// opened keeps a failed attacher from becoming a contender that is not nil.
func opened(a *attacher, err error) (contender, error) {
	if err != nil {
		return nil, err
	}
	return a, nil
}

func attachComparison(b binaries) comparison {
	return comparison{
		name:   "attach",
		what:   "ADD, CHECK and DEL, IPv4, one after the other",
		sides:  []side{ours(b, "ropeway", setting{}), ofPtp(b, "ptp", setting{}), ofBridge(b, setting{})},
		rounds: extent{150, 30}, seconds: extent{40, 8}, warmUp: 2,
		rows: []row{
			{"add", stepAdd, 0, 1, latency},
			{"check", stepCheck, 0, 1, latency},
			{"del", stepDel, 0, 1, latency},
			{"del-until-gone", stepGone, 0, 1, latency},
			{"add-vs-bridge", stepAdd, 0, 2, latency},
			{"check-vs-bridge", stepCheck, 0, 2, latency},
			{"del-vs-bridge", stepDel, 0, 2, latency},
			{"del-until-gone-vs-bridge", stepGone, 0, 2, latency},
		},
	}
}

// dualComparison has few rounds: ptp waits for duplicate address detection, more
// than a second.
func dualComparison(b binaries) comparison {
	both := setting{prefixes: []string{pods4, pods6}}
	return comparison{
		name:   "dual",
		what:   "ADD, CHECK and DEL, IPv4 and IPv6, one after the other",
		sides:  []side{ours(b, "ropeway", both), ofPtp(b, "ptp", both), ofBridge(b, both)},
		rounds: extent{15, 3}, seconds: extent{45, 8}, warmUp: 2,
		rows: []row{
			{"add-dual", stepAdd, 0, 1, latency},
			{"check-dual", stepCheck, 0, 1, latency},
			{"del-dual", stepDel, 0, 1, latency},
			{"add-dual-vs-bridge", stepAdd, 0, 2, latency},
		},
	}
}

func dualOverSingleComparison(b binaries) comparison {
	return comparison{
		name: "dual-over-single",
		what: "ADD and DEL of our own, IPv4 and IPv6 against IPv4 alone",
		sides: []side{
			ours(b, "ropeway dual-stack", setting{prefixes: []string{pods4, pods6}}),
			ours(b, "ropeway single-stack", setting{}),
		},
		rounds: extent{150, 30}, seconds: extent{25, 5}, warmUp: 2,
		rows: []row{
			{"add-dual-over-single", stepAdd, 0, 1, latency},
			{"del-dual-over-single", stepDel, 0, 1, latency},
		},
	}
}

func masqueradeComparison(b binaries) comparison {
	return comparison{
		name: "masquerade",
		what: "ADD and DEL with masquerading, iptables and nftables in the reference",
		sides: []side{
			ours(b, "ropeway", setting{masquerade: true}),
			ofPtp(b, "ptp", setting{masquerade: true}),
			ofPtp(b, "ptp, nftables", setting{masquerade: true, backend: "nftables"}),
			ofBridge(b, setting{masquerade: true}),
		},
		rounds: extent{40, 8}, seconds: extent{30, 6}, warmUp: 2,
		rows: []row{
			{"add-masquerade", stepAdd, 0, 1, latency},
			{"del-masquerade", stepDel, 0, 1, latency},
			{"add-masquerade-vs-nftables", stepAdd, 0, 2, latency},
			{"del-masquerade-vs-nftables", stepDel, 0, 2, latency},
			{"add-masquerade-vs-bridge", stepAdd, 0, 3, latency},
			{"del-masquerade-vs-bridge", stepDel, 0, 3, latency},
		},
	}
}

func hostPortComparison(b binaries) comparison {
	return comparison{
		name: "hostport",
		what: "ADD and DEL with a host port, the reference chained with portmap (iptables and nftables)",
		sides: []side{
			ours(b, "ropeway", setting{hostPort: true, masquerade: true}),
			ofPtp(b, "ptp + portmap", setting{hostPort: true}),
			ofPtp(b, "ptp + portmap, nftables", setting{hostPort: true, backend: "nftables"}),
		},
		rounds: extent{40, 8}, seconds: extent{30, 6}, warmUp: 2,
		rows: []row{
			{"add-hostport", stepAdd, 0, 1, latency},
			{"del-hostport", stepDel, 0, 1, latency},
			{"add-hostport-vs-nftables", stepAdd, 0, 2, latency},
			{"del-hostport-vs-nftables", stepDel, 0, 2, latency},
		},
	}
}

// statusComparison asks networks to which nothing is attached.
func statusComparison(b binaries) comparison {
	asked := func(s side) side {
		return side{title: s.title, open: func(ctx context.Context) (contender, error) {
			c, err := s.open(ctx)
			if err != nil {
				return nil, err
			}
			a := c.(*attacher)
			return repeated{call: a.network.status, end: a.close}, nil
		}}
	}
	return comparison{
		name: "status",
		what: "STATUS",
		sides: []side{
			asked(ours(b, "ropeway", setting{})),
			asked(ofPtp(b, "ptp", setting{})),
			asked(ofBridge(b, setting{})),
		},
		rounds: extent{200, 40}, seconds: extent{10, 3}, warmUp: 2,
		rows: []row{
			{"status", stepRun, 0, 1, latency},
			{"status-vs-bridge", stepRun, 0, 2, latency},
		},
	}
}

// withoutDaemonComparison stops ropewayd once the node is ready: whatever DEL
// hands over otherwise it does by itself.
func withoutDaemonComparison(b binaries) comparison {
	return comparison{
		name: "without-daemon",
		what: "ADD, CHECK and DEL while ropewayd is dead",
		sides: []side{
			ours(b, "ropeway without ropewayd", setting{withoutOwn: true}),
			ofPtp(b, "ptp", setting{}),
		},
		rounds: extent{60, 12}, seconds: extent{15, 4}, warmUp: 2,
		rows: []row{
			{"add-without-daemon", stepAdd, 0, 1, latency},
			{"check-without-daemon", stepCheck, 0, 1, latency},
			{"del-without-daemon", stepDel, 0, 1, latency},
		},
	}
}

// versionComparison is what our plugin costs above any Go program.
func versionComparison(b binaries) comparison {
	run := func(title string, c contender) side {
		return side{title: title, open: func(context.Context) (contender, error) { return c, nil }}
	}
	return comparison{
		name: "version",
		what: "VERSION against an empty Go program",
		sides: []side{
			run("ropeway", program(process{
				path: b.ropeway, env: environment("VERSION", b.dir, nil), stdin: []byte(`{"cniVersion":"1.0.0"}`),
			})),
			run("empty program", program(process{path: b.empty})),
		},
		rounds: extent{200, 40}, seconds: extent{10, 3}, warmUp: 2,
		rows: []row{{"version", stepRun, 0, 1, latency}},
	}
}
