// Package demands lists what the CNI specification 1.1.0 demands with MUST or
// SHOULD (in capitals or not), in this project's words, and which cases
// examine it, or why none can.
package demands

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/cases"
)

// Demand is one sentence of the specification, or several that say the same.
type Demand struct {
	Section string // where it stands
	Level   cases.Level
	Text    string
	Cases   []string
	Why     string // no case examines it
}

// reasons that several demands share.
const (
	runtimeDuty = "binds the runtime"
	authorDuty  = "binds who writes the configuration"
)

// All lists the demands in the order of the specification.
func All() []Demand {
	return slices.Concat(configuration(), parameters(), add(), del(), check(), status(), versionAndGC(), execution(), delegation(), results())
}

func configuration() []Demand {
	const s = "1 configuration"
	return []Demand{
		{s, cases.Should, "a network's name is unique on the host", nil, authorDuty},
		{s, cases.Must, "a network's name begins with a letter or digit and holds nothing that a path cannot", []string{"input-bad-name", "input-bad-name-code"}, ""},
		{s, cases.Must, "no CHECK with disableCheck, no GC with disableGC", nil, runtimeDuty},
		{s, cases.Must, "plugin objects from elsewhere are appended, unless loadOnlyInlinedPlugins says otherwise; all are validated, each belongs to one network, each is invoked", nil, runtimeDuty},
		{s, cases.Must, "loadOnlyInlinedPlugins is not true without plugins", nil, authorDuty},
		{s, cases.Must, "unknown fields of a plugin object are passed through", nil, runtimeDuty},
		{s, cases.Must, "type and ipam.type hold nothing that a file name cannot", nil, authorDuty},
		{s, cases.Should, "reserved keys do not stand in configurations; runtimes generate them", []string{"input-reserved-keys"}, ""},
		{s, cases.Should, "a plugin that reads a well-known key (ipMasq, ipam, dns) takes it as it is meant", []string{"result-dns", "delegate-called"}, ""},
		{s, cases.Must, "the highest version that both support is selected", nil, runtimeDuty},
		{s, cases.Must, "the configuration format stays compatible within a major version", nil, "binds the specification's authors"},
	}
}

func parameters() []Demand {
	const s = "2 parameters, errors"
	return []Demand{
		{s, cases.Must, "plugins run in the runtime's networking domain", []string{"add-own-netns"}, ""},
		{s, cases.Must, "CNI_CONTAINERID is not empty and has the form of an identifier", []string{"env-required", "env-containerid-form"}, ""},
		{s, cases.Must, "an interface name that the plugin cannot use is an error", []string{"env-ifname-unusable", "add-existing-interface"}, ""},
		{s, cases.Must, "required variables are there, optional ones may be missing", []string{"env-required", "env-optional-args", "env-optional-path", "version-needs-command-only", "del-without-netns", "status-without-path"}, ""},
		{s, cases.Must, "exit code 0 on success, another one on failure", []string{"add-succeeds", "error-exit-code", "env-unknown-command", "input-not-json", "version-refuses-unknown", "add-missing-netns"}, ""},
		{s, cases.Should, "a failure prints an error structure", []string{"error-structure", "error-all-keys"}, ""},
	}
}

func add() []Demand {
	const s = "2 ADD"
	return []Demand{
		{s, cases.Should, "ADD makes the interface in the container, or adjusts it", []string{"add-makes-interface", "add-second-interface", "add-beside-loopback", "capability-mac"}, ""},
		{s, cases.Must, "a successful ADD prints a result", []string{"add-succeeds"}, ""},
		{s, cases.Must, "a prevResult is passed on, or modified", []string{"chain-prevresult-kept", "chain-prevresult-equivalent"}, ""},
		{s, cases.Must, "an interface that exists already is an error", []string{"add-existing-interface", "add-existing-interface-untouched", "add-twice"}, ""},
		{s, cases.Should, "no second ADD for an attachment without a DEL", nil, runtimeDuty},
	}
}

func del() []Demand {
	const s = "2 DEL"
	return []Demand{
		{s, cases.Should, "DEL deletes the interface, or undoes what ADD did", []string{"del-removes-interface", "del-leaves-nothing", "del-keeps-others", "del-keeps-second-interface", "killed-add-leaves-nothing"}, ""},
		{s, cases.Must, "prevResult is supplied, the final one for the first plugin", nil, runtimeDuty},
		{s, cases.Should, "an empty prevResult is no error", []string{"del-without-prevresult", "del-without-prevresult-leaves-nothing"}, ""},
		{s, cases.Should, "DEL succeeds as far as it can be done, also when resources or state are missing", []string{"del-succeeds", "del-interface-gone", "del-present-configuration", "killed-add-del"}, ""},
		{s, cases.Should, "an IPAM plugin releases addresses although the namespace is gone", []string{"del-gone-netns-leaves-nothing", "del-without-netns-leaves-nothing", "del-netns-is-a-file"}, ""},
		{s, cases.Should, "a plugin like bridge delegates DEL and cleans up although namespace or interface are gone", []string{"del-gone-netns", "del-gone-netns-leaves-nothing", "del-without-netns-leaves-nothing", "del-creates-no-netns-file"}, ""},
		{s, cases.Should, "releasing what ends by itself, such as a DHCP lease, may fail without an error", nil, "what ends by itself is a plugin's own affair"},
		{s, cases.Must, "several DELs for one attachment succeed, also when the interface is missing", []string{"del-twice", "del-never-added", "del-interface-gone", "del-gone-netns"}, ""},
	}
}

func check() []Demand {
	const s = "2 CHECK"
	return []Demand{
		{s, cases.Must, "prevResult says which interfaces and addresses are expected", []string{"check-reads-prevresult", "check-wants-prevresult"}, ""},
		{s, cases.Must, "what a later plugin of the chain has modified is allowed for", []string{"check-allows-more-routes", "check-allows-more-addresses", "check-allows-fewer-routes", "check-allows-new-mac"}, ""},
		{s, cases.Should, "an interface, address or route of prevResult that is missing or invalid is an error", []string{"check-interface-gone", "check-interface-down", "check-address-gone", "check-route-gone", "check-host-interface-down", "check-netns-gone"}, ""},
		{s, cases.Should, "other resources that are missing or invalid are an error: firewall rules, reservations", []string{"check-firewall-gone", "check-reservation-gone", "check-reservation-of-another", "check-host-route-gone"}, ""},
		{s, cases.Should, "other resources: traffic shaping, a daemon that is needed", nil, "what they are only the plugin knows"},
		{s, cases.Should, "a condition in which the container cannot be reached, and of which the plugin knows, is an error", []string{"check-host-interface-down", "check-host-route-gone"}, ""},
		{s, cases.Must, "CHECK works immediately after ADD", []string{"check-after-add", "check-under-capture"}, ""},
		{s, cases.Should, "CHECK calls delegates and passes their errors on", []string{"delegate-called", "delegate-check-fails"}, ""},
		{s, cases.Must, "CHECK is called for what was added and not deleted, without disableCheck, with the result of ADD and the parameters of ADD", nil, runtimeDuty},
	}
}

func status() []Demand {
	const s = "2 STATUS"
	return []Demand{
		{s, cases.Must, "STATUS exits with 0 when ADD can be served", []string{"status-ready", "status-recovers", "libcni-status"}, ""},
		{s, cases.Must, "a plugin that knows that it cannot serve ADD exits with another code and prints an error", []string{"status-exhausted", "status-bad-configuration"}, ""},
		{s, cases.Should, "a service or daemon that is needed and not available is an error", nil, "which service it is only the plugin knows"},
		{s, cases.Should, "limited resources that are exhausted are an error", []string{"status-exhausted", "status-exhausted-code"}, ""},
		{s, cases.Must, "a plugin does not rely on STATUS being called", []string{"add-succeeds"}, ""},
		{s, cases.Should, "a plugin expects other operations although STATUS fails", []string{"status-del-after-failure"}, ""},
		{s, cases.Must, "STATUS is forwarded to the delegate that ADD needs", []string{"delegate-status"}, ""},
		{s, cases.Should, "an error of the delegate's STATUS is an error", []string{"delegate-status-fails"}, ""},
	}
}

func versionAndGC() []Demand {
	const s = "2 VERSION, GC"
	return []Demand{
		{s, cases.Should, "VERSION prints its result to standard output", []string{"version-lists-versions", "version-needs-command-only"}, ""},
		{s, cases.Should, "GC removes as much that is stale as possible, reservations for example", []string{"gc-removes-stale", "gc-frees-addresses", "gc-interface-name", "gc-empty-list", "libcni-gc"}, ""},
		{s, cases.Should, "GC is generally completed without an error", []string{"gc-succeeds", "gc-twice"}, ""},
		{s, cases.Should, "GC goes on after an error, and reports it", []string{"delegate-gc-fails"}, ""},
		{s, cases.Must, "GC is forwarded to delegates", []string{"delegate-gc"}, ""},
		{s, cases.Must, "GC is no substitute for DEL, and its configuration lists the valid attachments", []string{"gc-keeps-valid", "gc-absent-list"}, ""},
	}
}

func execution() []Demand {
	const s = "3 execution"
	return []Demand{
		{s, cases.Must, "the runtime makes the namespace before, and cleans it up after", nil, runtimeDuty},
		{s, cases.Must, "no parallel operations for one container, none beside GC", nil, runtimeDuty},
		{s, cases.Must, "plugins can run at the same time for different containers, and lock what they share", []string{"add-parallel"}, ""},
		{s, cases.Must, "ADD is followed by DEL in the end, also when it failed", []string{"killed-add-del", "killed-add-again", "del-then-add"}, ""},
		{s, cases.Should, "the configuration does not change between ADD and DEL, nor between attachments", nil, runtimeDuty},
		{s, cases.Must, "CNI_PATH and the attachment's parameters are provided", nil, runtimeDuty},
		{s, cases.Must, "the final result is kept for CHECK and DEL, whose parameters are those of ADD", nil, runtimeDuty},
		{s, cases.Must, "the configuration of a request is derived: cniVersion, name, runtimeConfig, prevResult, no capabilities", []string{"libcni-lifecycle"}, ""},
		{s, cases.Should, "other fields and capability arguments are passed on", nil, runtimeDuty},
	}
}

func delegation() []Demand {
	const s = "4 delegation"
	return []Demand{
		{s, cases.Must, "an IPAM plugin determines and returns addresses, gateway and routes", []string{"result-ips", "result-routes", "delegate-result"}, ""},
		{s, cases.Must, "a delegate receives the same environment variables", []string{"delegate-environment"}, ""},
		{s, cases.Must, "a delegate receives the complete configuration", []string{"delegate-configuration"}, ""},
		{s, cases.Should, "a delegate is looked up in CNI_PATH", []string{"delegate-called"}, ""},
		{s, cases.Should, "a delegate's standard error goes to the caller's", []string{"delegate-stderr"}, ""},
		{s, cases.Must, "CHECK, DEL and GC call the delegates, too", []string{"delegate-called", "delegate-gc"}, ""},
		{s, cases.Should, "an error of a delegate is an error of its caller", []string{"delegate-add-fails", "delegate-check-fails", "delegate-del-fails", "delegate-gc-fails", "delegate-error-code"}, ""},
		{s, cases.Should, "after a failed ADD a delegate is called with DEL", []string{"delegate-add-fails-del"}, ""},
	}
}

func results() []Demand {
	const s = "5 results"
	return []Demand{
		{s, cases.Must, "the result has the version of the input", []string{"result-version"}, ""},
		{s, cases.Must, "interfaces has all that the attachment made, also on the host", []string{"result-container-interface", "result-host-interfaces"}, ""},
		{s, cases.Should, "interfaces has the MTU (\"if applicable\" leaves room: counted as SHOULD)", []string{"result-mtu"}, ""},
		{s, cases.Should, "sandbox is the value of CNI_NETNS for interfaces in the container", []string{"result-sandbox"}, ""},
		{s, cases.Must, "ips in CIDR notation, each with the index of its interface; before 1.0.0 with its version", []string{"result-ips", "result-ip-interface", "result-ip-version"}, ""},
		{s, cases.Must, "routes that the attachment made", []string{"result-routes"}, ""},
		{s, cases.Must, "socketPath, pciID, gateway, and what else a route or dns says", nil, "whether there is such a thing only the plugin knows"},
		{s, cases.Must, "prevResult is the result, with modifications; an equivalent without any", []string{"chain-prevresult-kept", "chain-prevresult-equivalent"}, ""},
		{s, cases.Must, "an IPAM plugin's result has no interfaces", []string{"result-ipam-abbreviated"}, ""},
		{s, cases.Must, "VERSION says the version of the input and the supported versions", []string{"version-echoes-input", "version-lists-versions"}, ""},
		{s, cases.Should, "an error has cniVersion, code, msg, details", []string{"error-all-keys"}, ""},
		{s, cases.Must, "code 2: the message holds key and value of the unsupported field", []string{"input-unknown-key"}, ""},
		{s, cases.Must, "code 4: the message names the invalid variables", []string{"env-required-named", "env-unknown-command-code"}, ""},
		{s, cases.Should, "codes below 100 mean what the table says", []string{"version-error-code", "env-required-code", "input-not-json-code", "input-bad-name-code", "status-exhausted-code", "error-code-range", "pool-exhausted-code"}, ""},
	}
}

// Markdown is the table of all demands, and of the cases that are mere
// practice and stand for none.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| section | level | demand | cases |\n|---|---|---|---|\n")
	for _, d := range All() {
		examined := "none: " + d.Why
		if len(d.Cases) > 0 {
			examined = "`" + strings.Join(d.Cases, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", d.Section, d.Level, d.Text, examined)
	}
	b.WriteString("\nBeyond the specification, because runtimes or their users need it:\n\n")
	for _, c := range Beyond() {
		fmt.Fprintf(&b, "- `%s`: %s\n", c.Name, c.What)
	}
	return b.String()
}

// Beyond lists the cases that stand for no demand.
func Beyond() []cases.Case {
	named := map[string]bool{}
	for _, d := range All() {
		for _, name := range d.Cases {
			named[name] = true
		}
	}
	var rest []cases.Case
	for _, c := range cases.All() {
		if !named[c.Name] {
			rest = append(rest, c)
		}
	}
	return rest
}
