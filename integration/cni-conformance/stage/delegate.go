package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
)

// delegateType is the name of an IPAM plugin that the stage brings along. It
// is a shell script, so that a reproduction needs nothing else: it writes down
// what it is asked, answers with one address, and fails when it is told to.
const delegateType = "conformance-ipam"

const delegateScript = `#!/bin/sh
d=` + Own + `
echo "$CNI_COMMAND" >>$d/verbs
env | grep ^CNI_ | sort >$d/env.$CNI_COMMAND
cat >$d/stdin.$CNI_COMMAND
echo "delegate speaking: $CNI_COMMAND" >&2
if [ -e $d/fail.$CNI_COMMAND ]; then cat $d/fail.$CNI_COMMAND; exit 1; fi
if [ $CNI_COMMAND = ADD ]; then cat $d/result; fi
`

// DelegateCode is the error code with which the delegate fails.
const DelegateCode = 123

// Delegated makes the plugin delegate to the stage's IPAM plugin.
func (s *Stage) Delegated(ctx context.Context) error {
	if s.Subject.Kind != "interface" || s.Subject.IPAMType() == "" {
		return Inapplicable("its configuration has no ipam.type to which it would delegate")
	}
	ip := map[string]any{"address": "10.77.0.5/24", "gateway": "10.77.0.1"}
	if !s.AtLeast("1.0.0") {
		ip["version"] = "4"
	}
	result, err := json.Marshal(map[string]any{
		"cniVersion": s.Version, "ips": []any{ip}, "routes": []any{map[string]any{"dst": "203.0.113.0/24"}}, "dns": map[string]any{},
	})
	if err != nil {
		return err
	}
	err = s.Sh(ctx, "mkdir -p %s/bin && cat >%s/bin/%s <<'SCRIPT'\n%sSCRIPT\nchmod +x %s/bin/%s\ncat >%s/result <<'RESULT'\n%s\nRESULT",
		Own, Own, delegateType, delegateScript, Own, delegateType, Own, result)
	if err != nil {
		return err
	}
	s.path = []string{Own + "/empty", Own + "/bin"}
	plugins := append([]map[string]any{}, s.Subject.Plugins...)
	target := maps.Clone(plugins[s.Subject.Target])
	target["ipam"] = map[string]any{"type": delegateType, "unknown-to-all": "kept"}
	plugins[s.Subject.Target] = target
	s.Subject.Plugins = plugins
	return nil
}

// DelegateFails lets the delegate fail a verb from now on.
func (s *Stage) DelegateFails(ctx context.Context, verb string) error {
	return s.Sh(ctx, `echo '{"cniVersion":"%s","code":%d,"msg":"the delegate refuses"}' >%s/fail.%s`, s.Version, DelegateCode, Own, verb)
}

// DelegateHeard lists the verbs that the delegate was asked so far.
func DelegateHeard() []string {
	b, _ := os.ReadFile(Own + "/verbs")
	return strings.Fields(string(b))
}

// DelegateInput is what the delegate got when it was last asked a verb.
func DelegateInput(verb string) (env map[string]string, stdin []byte, err error) {
	b, err := os.ReadFile(Own + "/env." + verb)
	if err != nil {
		return nil, nil, fmt.Errorf("the delegate was not asked %s", verb)
	}
	env = map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	stdin, err = os.ReadFile(Own + "/stdin." + verb)
	return env, stdin, err
}
