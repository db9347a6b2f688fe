// Package crash proves what a node keeps when a CNI plugin is killed or the
// power is cut: no address is held twice, none is lost, nothing is left behind
// and no file stops later calls. It kills the plugin at each of its system
// calls with ptrace(2), and afterwards plays what runtimes do next.
//
// # Debugging
//
// A test that fails names verb, series, number and name of the system call.
// ROPEWAY_CRASH=every makes the tests go through every point instead of a
// sample; ROPEWAY_CRASH_AT=17 lets the kill tests try that one alone.
package crash
