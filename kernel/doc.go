// Package kernel is Ropeway's only door to Linux: links, addresses, routes,
// neighbours, forwarding entries, sysctls and one nftables table.
//
// It knows two views of a network namespace. A [State] is what Ropeway owns
// there, desired or actual; a [Snapshot] is what the kernel really holds: the
// owned State plus the facts about everything else that decisions need.
// [Diff] compares two States and yields a [Plan]; a Plan prints as the ip,
// bridge, sysctl and nft commands that an operator would type, and
// [Kernel.Apply] carries it out. Diff is pure; [Fake] is an in-memory Kernel
// as strict as the real one.
//
// Ropeway recognises its own objects without memory: links by name prefix
// ([TunnelPrefix], [PodLinkPrefix]), routes by protocol number
// ([RouteProtocol]), neighbours and FDB entries by being permanent and on an
// own link, nftables objects by their table ([TableName]). Everything else
// belongs to somebody else and is never touched, except that chains of other
// firewalls which would drop pods' packets get two rules of ours
// ([Admission]), recognised by their content.
//
// # Debugging
//
// What Ropeway holds in a namespace can be read with ordinary tools:
//
//	ip -d link show type vxlan
//	ip route show proto 114; ip -6 route show proto 114
//	ip neigh show nud permanent; bridge fdb show dev ropeway-vxlan
//	nft list table inet ropeway
package kernel
