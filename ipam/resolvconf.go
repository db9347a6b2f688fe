package ipam

import (
	"bufio"
	"bytes"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

func readResolvConf(path string) (types.DNS, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return types.DNS{}, errorf(ErrConfig, "ipam.resolvConf: %w; name a readable file in resolv.conf(5) form", err)
	}
	return parseResolvConf(b), nil
}

// parseResolvConf reads resolv.conf(5): the last domain and search count,
// nameservers and options add up. What it does not know it passes over, as the
// resolver does.
func parseResolvConf(b []byte) types.DNS {
	var dns types.DNS
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			dns.Nameservers = append(dns.Nameservers, fields[1])
		case "domain":
			dns.Domain = fields[1]
		case "search":
			dns.Search = fields[1:]
		case "options":
			dns.Options = append(dns.Options, fields[1:]...)
		}
	}
	return dns
}
