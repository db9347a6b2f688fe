// Package leases says of each address that an allocator of this node has given
// out who holds it and whether it is really in use, and frees those that
// certainly are not.
//
// A reservation is a file and proves nothing: the package asks the endpoint
// records, the results that libcni keeps for the runtime, the node's links and
// routes, and every network namespace of the machine. One sign of life is
// enough for an address to be left alone.
//
// It needs neither the daemon nor the API server, and changes nothing but what
// [Collect] frees.
package leases
