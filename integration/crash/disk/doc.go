// Package disk is a disk that remembers every write and every flush, so that a
// test can ask what would be on it had the power been cut at any moment. What
// was flushed is there; of what was written since, any part may be: a disk
// writes in its own order, and a sector at a time.
//
// [Mount] serves it as a file on this machine, to be mounted with [Loop];
// [Disk.ServeNBD] serves it to a virtual machine.
package disk
