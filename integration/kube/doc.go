// Package kube is a real Kubernetes on one machine: API server, controllers,
// scheduler, kubelets, containerd and kube-proxy of pinned releases, built from
// their Go modules below upstream/, with the nodes of a lab as machines and
// Ropeway installed by its own manifest.
//
//	n1 (and the control plane)   n2           n3
//	            \                /             |
//	             subnet 1                   subnet 2
//	                  \                       /
//	                   [ lab's router ] ----- world
//
// A [Machine] is a lab node's network namespace with PID, mount and UTS
// namespaces of its own. Its root is an overlay over this machine's: it runs
// the programs that are installed here and writes nothing here. Process 1 in it
// is this program again (see [BecomeMachine]), which starts containerd, kubelet
// and kube-proxy, starts them anew when they end, and buries orphans. Killing
// it is pulling the plug: the kernel ends everything that ran on the machine.
//
// Everything of a cluster lies in one directory; [Cluster.Down] removes it
// along with namespaces and control groups.
package kube
