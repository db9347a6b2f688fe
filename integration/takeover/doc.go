// Package takeover holds the tests of changing between host-local and Ropeway's
// allocator with pods running, with the real host-local, ptp and bridge: one
// takes over the other's directory, in both directions.
package takeover
