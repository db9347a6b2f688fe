package cases

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

func inputCases() []Case {
	return []Case{
		{Name: "input-not-json", Level: Must, What: "standard input that is no JSON object fails", Run: inputNotJSON},
		{Name: "input-not-json-code", Level: Should, What: "the error code for it is 6 (or 5, when nothing comes)", Run: inputNotJSONCode},
		{Name: "input-bad-name", Level: Must, What: "a network name with a path in it, or none, fails", Run: inputBadName},
		{Name: "input-bad-name-code", Level: Should, What: "the error code for it is 7", Run: inputBadNameCode},
		{Name: "input-reserved-keys", Level: Practice, What: "keys that runtimes generate are accepted: args, runtimeConfig, capabilities, cni.dev/…", Run: inputReservedKeys},
		{Name: "input-unknown-key", Level: Must, What: "an unknown key is ignored, or refused with code 2 and a message with key and value", Run: inputUnknownKey},
	}
}

func garbage() []string {
	return []string{"", "{", "[]", "null", `"text"`, "{} {}", `{"cniVersion": 1, "name": []}`, "\x00\xff"}
}

func eachGarbage(ctx context.Context, s *stage.Stage, judge func(r stage.Reply, text string) error) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	verbs := []string{"ADD", "DEL"}
	if s.AtLeast("1.1.0") {
		verbs = append(verbs, "GC", "STATUS")
	}
	for _, verb := range verbs {
		for _, text := range garbage() {
			about := a
			if verb == "GC" || verb == "STATUS" {
				about = nil
			}
			if err := judge(s.Call(ctx, verb, about, stage.Stdin(text)), text); err != nil {
				return err
			}
		}
	}
	return nil
}

func inputNotJSON(ctx context.Context, s *stage.Stage) error {
	return eachGarbage(ctx, s, func(r stage.Reply, text string) error {
		return fails(r, fmt.Sprintf("standard input is %q", text))
	})
}

func inputNotJSONCode(ctx context.Context, s *stage.Stage) error {
	return eachGarbage(ctx, s, func(r stage.Reply, text string) error {
		switch text {
		case "":
			_, err := codeIs(r, 5, 6)
			return err
		case "null": // JSON, and without everything that a configuration must have
			_, err := codeIs(r, 6, 7)
			return err
		}
		_, err := codeIs(r, 6)
		return err
	})
}

func badNames() []any { return []any{"", "a/b", "../x", ".hidden", "two words"} }

func inputBadName(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	for _, name := range badNames() {
		if err := fails(s.Call(ctx, "ADD", a, stage.Key("name", name)), fmt.Sprintf("the network's name is %q", name)); err != nil {
			return err
		}
	}
	return nil
}

func inputBadNameCode(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	for _, name := range badNames() {
		if _, err := codeIs(s.Call(ctx, "ADD", a, stage.Key("name", name)), 7); err != nil {
			return err
		}
	}
	return nil
}

func inputReservedKeys(ctx context.Context, s *stage.Stage) error {
	options := []stage.Option{
		stage.Key("args", map[string]any{"cni": map[string]any{"labels": []any{map[string]any{"key": "app", "value": "web"}}}, "example.com": 1}),
		stage.Key("cni.dev/attachments", []any{}),
		stage.Key("cni.dev/valid-attachments", []any{}),
		stage.Key("cni.dev/not-yet-invented", map[string]any{"a": 1}),
		stage.Key("capabilities", map[string]any{"io.kubernetes.cri.pod-annotations": true}),
	}
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	if err := succeeds(s.Add(ctx, a, options...)); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "DEL", a, options...))
}

func inputUnknownKey(ctx context.Context, s *stage.Stage) error {
	const key, value = "conformance-unknown", "value-4711"
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	r := s.Add(ctx, a, stage.Key(key, value))
	if r.OK() {
		return nil
	}
	e, err := codeIs(r, 2)
	if err != nil {
		return err
	}
	if !strings.Contains(*e.Msg, key) || !strings.Contains(*e.Msg, value) {
		return stage.Breached(r, "the message of code 2 does not hold key and value: %s", *e.Msg)
	}
	return nil
}

func errorCases() []Case {
	return []Case{
		{Name: "error-exit-code", Level: Must, What: "an ADD that fails exits with another code than 0, and is not ended by a signal or a panic", Run: errorExitCode},
		{Name: "error-structure", Level: Should, What: "a failure prints one JSON object with code and msg to standard output", Run: errorStructure},
		{Name: "error-all-keys", Level: Should, What: "the error has all keys: cniVersion (the one in use), code, msg, details", Run: errorAllKeys},
		{Name: "error-code-range", Level: Practice, What: "an error code below 100 is one that the specification defines (the Go library's 8 included)", Run: errorCodeRange},
	}
}

// failures are calls that every plugin must refuse.
func failures(ctx context.Context, s *stage.Stage) []stage.Reply {
	a := s.Unmade("nowhere")
	return []stage.Reply{
		s.Call(ctx, "ADD", a, stage.NoEnv("CNI_IFNAME")),
		s.Call(ctx, "ADD", a, stage.Stdin("{")),
		s.Call(ctx, "ADD", a, stage.Key("name", "a/b")),
		s.Call(ctx, "ADD", a, stage.Key("cniVersion", unsupported)),
	}
}

func errorExitCode(ctx context.Context, s *stage.Stage) error {
	for _, r := range failures(ctx, s) {
		if err := fails(r, "it cannot do that"); err != nil {
			return err
		}
		if r.Code < 0 || r.Code == 2 && strings.Contains(r.Stderr, "goroutine ") {
			return stage.Breached(r, "it was ended by a signal or a panic: %s", r.Brief())
		}
	}
	return nil
}

func errorStructure(ctx context.Context, s *stage.Stage) error {
	for _, r := range failures(ctx, s) {
		if _, err := stage.ErrorOf(r); err != nil {
			return err
		}
	}
	return nil
}

func errorAllKeys(ctx context.Context, s *stage.Stage) error {
	for _, r := range failures(ctx, s) {
		e, err := stage.ErrorOf(r)
		if err != nil {
			return err
		}
		if e.CNIVersion == nil || *e.CNIVersion == "" || e.Details == nil {
			return stage.Breached(r, "the error has no cniVersion or no details: %s", r.Brief())
		}
		var sent struct {
			CNIVersion string `json:"cniVersion"`
		}
		if json.Unmarshal([]byte(r.Stdin), &sent) == nil && sent.CNIVersion == s.Version && *e.CNIVersion != s.Version {
			return stage.Breached(r, "the error's cniVersion is %q, in use is %q", *e.CNIVersion, s.Version)
		}
	}
	return nil
}

func errorCodeRange(ctx context.Context, s *stage.Stage) error {
	for _, r := range failures(ctx, s) {
		e, err := stage.ErrorOf(r)
		if err != nil {
			return err
		}
		if *e.Code < 100 {
			if _, err := codeIs(r, 1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51); err != nil {
				return err
			}
		}
	}
	return nil
}
