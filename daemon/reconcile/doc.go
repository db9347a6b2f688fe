// Package reconcile keeps a node's kernel equal to what it should hold.
//
// The loop is level-triggered: whatever changed, it takes a snapshot of the
// kernel, reads the endpoint records, computes the desired state, applies the
// difference and looks again. It touches nothing before it knows the nodes,
// and when it ends it leaves everything in place.
//
// What is written to disk, and when: sysctls.json before a sysctl is changed,
// so that cleanup can restore it after a crash; peers.json and node.json after
// the kernel was changed, so that what they promise is there; the CNI
// configuration last, once the kernel equals the desired state, since the
// container runtime sends pods as soon as it sees it.
package reconcile
