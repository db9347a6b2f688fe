// Package scenarios holds what must be true of a cluster as scripts that read
// like a lab notebook: testdata/*.txtar, each run for every mode and underlay
// that its header names, in a lab of its own.
//
// A script's header are comment lines of the form `# key: values`:
//
//	# modes: all                        or some of the five modes
//	# underlays: ipv4 ipv6              the primary family; default ipv4
//	# pods: dual                        the default; or ipv4, ipv6
//
// The commands of the scripts are in commands.go and the files beside it, one
// line of documentation each. `eventually` repeats a command until it succeeds
// or a deadline passes, and logs how long that took; no result depends on the
// clock otherwise.
//
// A mode that the kernel cannot run (ipip without its module) is left out here;
// package guest runs all modes inside a Debian kernel. See [Supported].
package scenarios
