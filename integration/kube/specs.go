package kube

import (
	"regexp"
	"strings"
)

// exclusion is a group of Kubernetes' [sig-network] specs that this cluster
// cannot judge, and why.
type exclusion struct {
	pattern string
	reason  string
}

// exclusions are looked through in order; the first that fits gives the reason.
func exclusions() []exclusion {
	return []exclusion{
		{`\[Feature:LoadBalancer\]`, "needs a cloud's load balancer"},
		{`\[Feature:NetworkPolicy\]`, "Ropeway has no network policy yet"},
		{`\[Feature:SCTPConnectivity\]`, "the machine's kernel has no SCTP; SCTP host ports are tested in the Debian kernel"},
		{`\[Provider:gce|\[Provider:`, "needs a cloud"},
		{`Internet connection`, "the machine has no Internet connection"},
		{`\[Disruptive\]`, "restarts parts of the cluster through SSH"},
		{`\[Feature:KubeProxyNFAcct\]`, "needs the kernel module nfnetlink_acct"},
		{`\[Feature:LocalhostNodePorts\]`, "kube-proxy offers it in iptables mode alone, and an image is pulled"},
		{`\[Feature:PerformanceDNS\]`, "measures the name server: ten thousand Services"},
		{`\[Feature:Networking-Performance\]`, "measures and judges nothing"},
		{`DNS configMap nameserver`, "replaces the name server's configuration with one for an image that is pulled"},
	}
}

// Selection is a set of specs.
type Selection string

// The selections.
const (
	// Conformant are the specs that every certified cluster passes.
	Conformant Selection = "conformance"
	// Further are all others that need nothing the cluster lacks.
	Further Selection = "further"
	// Short is what is run again where little differs: paths, Services of
	// every type, names and host ports.
	Short Selection = "short"
)

// focus is the regular expression for ginkgo.
func (s Selection) focus() string {
	switch s {
	case Conformant:
		return `\[sig-network\].*\[Conformance\]`
	case Short:
		return `\[sig-network\] (Networking Granular Checks: (Pods|Services should (function for|be able))|Services should (serve a basic|be able to (change|create a functioning)|preserve)|HostPort|DNS should provide DNS for (the cluster|services)|NoSNAT|\[Feature:IPv6DualStack\])`
	default:
		return `\[sig-network\]`
	}
}

func (s Selection) skip() string {
	var patterns []string
	for _, e := range exclusions() {
		patterns = append(patterns, e.pattern)
	}
	if s == Further {
		patterns = append(patterns, `\[Conformance\]`)
	}
	return strings.Join(patterns, "|")
}

// excluded returns why a spec is not run, or "".
func excluded(spec string) string {
	for _, e := range exclusions() {
		if regexp.MustCompile(e.pattern).MatchString(spec) {
			return e.reason
		}
	}
	return ""
}

// explanations say why a spec fails or skips itself where its own words do not.
func explanations() []exclusion {
	return []exclusion{
		{`implement NodePort and HealthCheckNodePort correctly`, "The node speaks to its own NodePort and kube-proxy masquerades that. " +
			"Towards a pod behind a tunnel the address is the tunnel's, as for everything that the node itself sends there: " +
			"answers to its underlay address would travel outside of the tunnel. The spec expects the underlay address; it passes where paths are direct."},
	}
}

// explained returns why a spec ended as it did, as far as that is known.
func explained(v Verdict) string {
	for _, e := range explanations() {
		if v.Outcome == Failed && regexp.MustCompile(e.pattern).MatchString(v.Spec) {
			return e.reason
		}
	}
	return ""
}
