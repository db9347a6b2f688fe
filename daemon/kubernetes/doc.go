// Package kubernetes is everything that the daemon exchanges with the API
// server of a cluster: it reads the Node objects ([API.Run]), and writes this
// node's condition NetworkUnavailable, the address that its peers shall use
// and Events.
//
// Of a Node object a few hundred bytes are kept. A change of anything else,
// such as a heartbeat, ends in a comparison. Whatever fails is said once, with
// its remedy, and tried again; nothing here ever keeps the daemon from working
// with what it knows.
package kubernetes
