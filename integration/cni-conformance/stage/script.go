package stage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Script is everything that was done, for a shell in namespaces of its own.
func (s *Stage) Script() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	head := []string{
		"unshare --mount --net --pid --fork --mount-proc sh <<'EVERYTHING'",
		"mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib; mount -t sysfs sysfs /sys",
		"mkdir -p /run/netns " + Own + "; ip link set lo up",
		"BIN=" + quote(strings.Join(s.Subject.Path, ":")),
	}
	return strings.Join(append(append(head, s.script...), "EVERYTHING"), "\n") + "\n"
}

// noteCall writes a call as a command of the shell. A result that an earlier
// call printed is taken from there, since another run prints another one.
func (s *Stage) noteCall(req request, reply Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var line strings.Builder
	name := ""
	if req.verb == "ADD" && reply.OK() && !req.apart {
		name = fmt.Sprintf("R%d", len(s.saved)+1)
		line.WriteString(name + "=$(")
	}
	if req.kill > 0 {
		fmt.Fprintf(&line, "timeout -s KILL %.3f ", req.kill.Seconds())
	}
	line.WriteString(`env -i PATH="$PATH"`)
	for _, key := range slices.Sorted(maps.Keys(req.env)) {
		value := quote(strings.ReplaceAll(req.env[key], strings.Join(s.Subject.Path, ":"), "$BIN"))
		line.WriteString(" " + key + "=" + value)
	}
	fmt.Fprintf(&line, ` "$(PATH=$BIN command -v %s)" <<JSON`, req.plugin)
	ending := ""
	if req.apart {
		line.WriteString(" &")
	}
	if name != "" {
		ending = "\n)"
	}
	stdin := s.heredoc(reply.Stdin) // which may define variables in front
	s.script = append(s.script, line.String()+"\n"+stdin+"\nJSON"+ending)
	if name != "" {
		s.script = append(s.script, `echo "exit code $?: $`+name+`"`)
		s.saved = append(s.saved, compact(reply.stdout))
		s.chosen = append(s.chosen, choices(name, reply.stdout)...)
	} else if !req.apart {
		s.script = append(s.script, `echo "exit code $?"`)
	}
}

// heredoc protects what the shell would replace.
func (s *Stage) heredoc(stdin string) string {
	for i, result := range s.saved {
		if result != "" {
			stdin = strings.ReplaceAll(stdin, result, fmt.Sprintf("\x00R%d\x00", i+1))
		}
	}
	stdin = s.replaceChosen(stdin, func(variable string) string { return "\x00" + variable + "\x00" })
	stdin = strings.NewReplacer(`\`, `\\`, "$", `\$`, "`", "\\`").Replace(stdin)
	for i := range s.saved {
		stdin = strings.ReplaceAll(stdin, fmt.Sprintf("\x00R%d\x00", i+1), fmt.Sprintf("$R%d", i+1))
	}
	for _, c := range s.chosen {
		stdin = strings.ReplaceAll(stdin, "\x00"+c.variable+"\x00", "$"+c.variable)
	}
	return stdin
}

// unquoted replaces what plugins chose in a command, unless that has words in which
// the shell replaces nothing.
func (s *Stage) unquoted(command string) string {
	if strings.Contains(command, "'") {
		return command
	}
	return s.replaceChosen(command, func(variable string) string { return "$" + variable })
}

// chosen is a name or MAC address that a plugin chose by chance.
type chosen struct {
	value      string
	variable   string
	definition string // a command of the shell
	defined    bool
}

// choices finds in a result, which the script has in a variable, the names of the
// host's interfaces and all MAC addresses.
func choices(result string, document []byte) []chosen {
	var r Result
	if json.Unmarshal(document, &r) != nil {
		return nil
	}
	var all []chosen
	macs := 0
	add := func(variable, value, key string, nth int) {
		all = append(all, chosen{value: value, variable: variable, definition: fmt.Sprintf(
			`%s=$(printf %%s "$%s" | grep -o '"%s": *"[^"]*"' | sed -n '%ds/.*"\([^"]*\)"$/\1/p')`, variable, result, key, nth)})
	}
	for i, l := range r.Interfaces {
		const shortest = 5 // bytes; a shorter name may be a part of other words
		if l.Sandbox == "" && len(l.Name) >= shortest {
			add(fmt.Sprintf("LINK%s_%d", result, i+1), l.Name, "name", i+1)
		}
		if l.MAC != "" {
			macs++
			add(fmt.Sprintf("MAC%s_%d", result, i+1), l.MAC, "mac", macs)
		}
	}
	return all
}

// replaceChosen replaces what plugins chose, and defines the variables that are
// used for the first time.
func (s *Stage) replaceChosen(text string, by func(variable string) string) string {
	for i := range s.chosen {
		c := &s.chosen[i]
		if !strings.Contains(text, c.value) {
			continue
		}
		if !c.defined {
			c.defined = true
			s.script = append(s.script, c.definition)
		}
		text = strings.ReplaceAll(text, c.value, by(c.variable))
	}
	return text
}

// compact is a document as it stands within another one.
func compact(document []byte) string {
	b, err := json.Marshal(json.RawMessage(bytes.TrimSpace(document)))
	if err != nil {
		return ""
	}
	return string(b)
}

// quote makes text one word of the shell; $BIN stays what it is.
func quote(text string) string {
	plain := strings.IndexFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/.:_-=$,", r)
	}) < 0
	if plain && (!strings.Contains(text, "$") || strings.Contains(text, "$BIN")) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
