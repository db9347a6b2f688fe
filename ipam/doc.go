// Package ipam hands out the addresses of one node's pods and remembers them
// in plain files, in the layout that host-local uses, so that `ls` shows what
// is held and a node can change from one to the other with its pods running.
//
// A network's directory holds
//
//	<address>                 a reservation: container ID, CR LF, interface name
//	last_reserved_ip.<n>      where range set n goes on, so that a freed address rests
//	last_reserved_ip.free     some free addresses of a nearly full network
//	last_reserved_ip.holders  from an attachment to its addresses, see holders.go
//	lock                      held with flock(2) while any of this changes
//	boot_id                   the boot in which reservations of mode 0400 were made
//
// A reservation appears whole or not at all: it is written under another name
// and then linked to the names of all its addresses, so that the families of a
// pod share one file. Files that a crash left empty or torn belong to nobody and
// are taken over. What an earlier boot left
// is stale, since no pod outlives its kernel. What host-local wrote, of mode 0600,
// may be of any boot, and is adopted as it is.
//
// The package knows files and nothing of the kernel's network.
package ipam
