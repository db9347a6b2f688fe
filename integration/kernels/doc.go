// Package kernels runs test binaries inside a second Linux kernel: Debian's own
// cloud kernel under qemu. Machines on which tests run often have a kernel
// without the tunnel modules (ipip, sit, ip6tnl); Debian's has them all.
//
// [Ensure] installs the host programs that are needed, [Run] boots once, runs
// one command and returns its exit code:
//
//	code, err := kernels.Run(ctx, kernels.Job{
//		Files:   map[string]string{"/test/scenarios": "build/scenarios.test"},
//		Command: []string{"/test/scenarios", "-test.v"},
//		Output:  os.Stdout,
//	})
//
// The guest has no disk and no network. Its file system is an initramfs with
// busybox, bash, ip, bridge, tc, nft and a few more of the host's tools, and
// the kernel's network modules, which the kernel loads by itself when they are
// asked for. The kernel package is unpacked into a cache directory and is never
// installed.
//
// # Debugging
//
// The command line runs anything inside:
//
//	go run ./integration/kernels/cmd/kernels run -- bash -c 'ip link add type ipip; ip link'
package kernels
