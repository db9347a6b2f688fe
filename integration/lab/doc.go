// Package lab is a cluster's network on one machine: nodes and pods are network
// namespaces, the underlay is two layer-2 subnets with a router between them,
// each node runs the real ropewayd with directories of its own, and pods are
// attached through libcni with the configuration that the daemon wrote, as a
// container runtime does it.
//
//	n1      n2           n3
//	 \      /             |
//	  subnet 1        subnet 2
//	       \           /
//	        [ router ]------ world
//
// The router and the world know no pod address, so that only what Ropeway does
// carries pod traffic. In direct mode all nodes are on subnet 1, unless the
// options place them, because a peer behind a router is refused there.
//
// A namespace is named rw-<lab>-<node or pod> and pinned in /run/netns, so that
// `ip netns exec` finds it. Everything else of a lab lies in one directory,
// /run/ropeway-lab/<lab> by default: configuration, state and logs of each node.
// [Lab.Close] removes all of it, also what a failed [New] made.
//
// The package runs no helper programs, so it works in an initramfs as well.
// Traffic is made by sockets that were created inside a namespace
// ([Namespace.Dial], [Namespace.Listen], [Namespace.ListenPacket]); a socket
// stays in the namespace of its birth whatever thread uses it later.
package lab
