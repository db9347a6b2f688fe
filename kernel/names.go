package kernel

import "strings"

// isTunnelLink says whether the name is one of Ropeway's tunnel devices.
func isTunnelLink(name string) bool { return strings.HasPrefix(name, TunnelPrefix) }

// isPodLink says whether the name is that of a pod link's host end.
func isPodLink(name string) bool { return strings.HasPrefix(name, PodLinkPrefix) }

// isOwnLink says whether Ropeway owns the link of that name.
func isOwnLink(name string) bool {
	return isTunnelLink(name) || isPodLink(name) || isShaperLink(name)
}
