package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/subject"
)

// maxOutput is how much of a plugin's output is kept as evidence.
const maxOutput = 64 << 10

// request is one call of a plugin before it is made.
type request struct {
	plugin string
	verb   string
	env    map[string]string
	conf   map[string]any
	stdin  []byte // instead of conf, when not nil
	kill   time.Duration
	apart  bool // in the background of the script
}

// Option changes a call.
type Option func(*request)

// Key puts a key into the configuration.
func Key(key string, value any) Option {
	return func(r *request) { r.conf[key] = value }
}

// NoKey takes a key out of the configuration.
func NoKey(key string) Option { return func(r *request) { delete(r.conf, key) } }

// Env sets an environment variable.
func Env(name, value string) Option { return func(r *request) { r.env[name] = value } }

// NoEnv leaves an environment variable out.
func NoEnv(name string) Option { return func(r *request) { delete(r.env, name) } }

// Stdin replaces the whole configuration.
func Stdin(text string) Option { return func(r *request) { r.stdin = []byte(text) } }

// Killed ends the plugin with SIGKILL after a time.
func Killed(after time.Duration) Option { return func(r *request) { r.kill = after } }

func apart(r *request) { r.apart = true }

// Reply is what a call of a plugin gave.
type Reply struct {
	Plugin  string            `json:"plugin"`
	Verb    string            `json:"verb"`
	Env     map[string]string `json:"env"`
	Stdin   string            `json:"stdin"`
	Stdout  string            `json:"stdout"`
	Stderr  string            `json:"stderr,omitempty"`
	Code    int               `json:"exitCode"` // -1: ended by a signal
	Hung    bool              `json:"hung,omitempty"`
	Elapsed time.Duration     `json:"elapsed"`

	stdout []byte
}

// OK reports whether the plugin exited with 0.
func (r Reply) OK() bool { return r.Code == 0 && !r.Hung }

// Brief is the reply in a line.
func (r Reply) Brief() string {
	out := strings.Join(strings.Fields(r.Stdout), " ")
	if out == "" {
		out = strings.Join(strings.Fields(r.Stderr), " ")
	}
	if len(out) > 400 {
		out = out[:400] + "…"
	}
	if r.Hung {
		return fmt.Sprintf("%s did not end within %v", r.Verb, callDeadline)
	}
	return fmt.Sprintf("%s exited with %d and printed %q", r.Verb, r.Code, out)
}

// Call runs a verb of the plugin under examination. a is nil for the verbs
// that concern no attachment.
func (s *Stage) Call(ctx context.Context, verb string, a *Attachment, options ...Option) Reply {
	return s.exec(ctx, s.compose(verb, s.Subject.Target, a, options))
}

// Add attaches, and remembers the result when it succeeds.
func (s *Stage) Add(ctx context.Context, a *Attachment, options ...Option) Reply {
	r := s.Call(ctx, "ADD", a, options...)
	if r.OK() {
		a.Result = r.stdout
	}
	return r
}

// Added attaches where success is the precondition of a case.
func (s *Stage) Added(ctx context.Context, a *Attachment, options ...Option) error {
	if r := s.Add(ctx, a, options...); !r.OK() {
		return &Blocked{What: "ADD fails: " + r.Brief(), Reply: &r}
	}
	return nil
}

// Deleted detaches where success is the precondition of a case.
func (s *Stage) Deleted(ctx context.Context, a *Attachment, options ...Option) error {
	if r := s.Call(ctx, "DEL", a, options...); !r.OK() {
		return &Blocked{What: "DEL fails: " + r.Brief(), Reply: &r}
	}
	return nil
}

// Attached makes a container and attaches it.
func (s *Stage) Attached(ctx context.Context, name string, options ...Option) (*Attachment, error) {
	a, err := s.Container(ctx, name)
	if err != nil {
		return nil, err
	}
	return a, s.Added(ctx, a, options...)
}

// compose derives a call as the specification's section 3 says.
func (s *Stage) compose(verb string, plugin int, a *Attachment, options []Option) request {
	conf := maps.Clone(s.Subject.Plugins[plugin])
	delete(conf, "capabilities")
	conf["cniVersion"], conf["name"] = s.Version, s.Subject.Network
	env := map[string]string{"CNI_COMMAND": verb, "CNI_PATH": s.cniPath()}
	if a != nil {
		env["CNI_CONTAINERID"], env["CNI_NETNS"], env["CNI_IFNAME"] = a.ID, a.Netns, a.IfName
		if a.Args != "" {
			env["CNI_ARGS"] = a.Args
		}
		if subject.Declares(s.Subject.Plugins[plugin], "portMappings") {
			conf["runtimeConfig"] = map[string]any{"portMappings": []any{
				map[string]any{"hostPort": a.port, "containerPort": 80, "protocol": "tcp"},
			}}
		}
		if previous := a.resultBefore(verb, plugin); previous != nil {
			conf["prevResult"] = json.RawMessage(previous)
		}
	}
	if verb == "VERSION" {
		conf = map[string]any{"cniVersion": s.Version}
		delete(env, "CNI_PATH")
	}
	r := request{plugin: s.Subject.Plugins[plugin]["type"].(string), verb: verb, env: env, conf: conf}
	for _, change := range options {
		change(&r)
	}
	return r
}

// resultBefore is prevResult: of the plugin before for ADD, the last one of all
// for the others; nil when there is none.
func (a *Attachment) resultBefore(verb string, plugin int) []byte {
	switch {
	case verb == "ADD" && plugin > 0 && plugin <= len(a.lower):
		return a.lower[plugin-1]
	case verb == "ADD":
		return nil
	case a.Result != nil:
		return a.Result
	}
	return a.previous
}

// exec makes the call in the host's namespace, which is this process's.
func (s *Stage) exec(ctx context.Context, req request) Reply {
	stdin := req.stdin
	if stdin == nil {
		var err error
		if stdin, err = json.Marshal(req.conf); err != nil {
			return Reply{Plugin: req.plugin, Verb: req.verb, Code: -1, Stderr: err.Error()}
		}
	}
	reply := s.run(ctx, req, stdin)
	s.noteCall(req, reply)
	return reply
}

func (s *Stage) run(ctx context.Context, req request, stdin []byte) Reply {
	r := Reply{Plugin: req.plugin, Verb: req.verb, Env: req.env, Stdin: string(stdin), Code: -1}
	path, err := s.Subject.Find(req.plugin)
	if err != nil {
		r.Stderr = err.Error()
		return r
	}
	deadline := callDeadline
	if req.kill > 0 {
		deadline = req.kill
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, name := range slices.Sorted(maps.Keys(req.env)) {
		cmd.Env = append(cmd.Env, name+"="+req.env[name])
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	cmd.WaitDelay = 2 * time.Second // a killed plugin's children may hold the pipes
	start := time.Now()
	err = cmd.Run()
	r.Elapsed = time.Since(start)
	r.stdout = stdout.Bytes()
	r.Stdout, r.Stderr = clip(stdout.String()), clip(stderr.String())
	var exit *exec.ExitError
	switch {
	case err == nil:
		r.Code = 0
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
		status, _ := exit.Sys().(syscall.WaitStatus)
		r.Hung = req.kill == 0 && status.Signaled() && errors.Is(ctx.Err(), context.DeadlineExceeded)
	default:
		r.Stderr += err.Error()
	}
	return r
}

func clip(text string) string {
	if len(text) > maxOutput {
		return text[:maxOutput]
	}
	return text
}

// Raw makes a call that a library has composed.
func (s *Stage) Raw(ctx context.Context, path string, stdin []byte, environ []string) Reply {
	req := request{plugin: filepath.Base(path), env: map[string]string{}, stdin: stdin}
	for _, pair := range environ {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "CNI_") {
			req.env[name] = value
		}
	}
	req.verb = req.env["CNI_COMMAND"]
	return s.exec(ctx, req)
}

// Parallel attaches several containers at once.
func (s *Stage) Parallel(ctx context.Context, attachments []*Attachment) []Reply {
	replies := make([]Reply, len(attachments))
	done := make(chan int)
	for i, a := range attachments {
		go func() {
			replies[i] = s.Add(ctx, a, apart)
			done <- i
		}()
	}
	for range attachments {
		<-done
	}
	s.note("wait")
	return replies
}

// Strangers waits until no other process is left on the stage, such as a
// delegate of a plugin that was killed.
func (s *Stage) Strangers(ctx context.Context) error {
	s.note("while pgrep -x " + s.Subject.Type() + " >/dev/null; do sleep 0.1; done")
	return Await(ctx, callDeadline, func() (bool, error) {
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		for _, stat := range stats {
			b, readErr := os.ReadFile(stat)
			fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
			if readErr == nil && filepath.Base(filepath.Dir(stat)) != fmt.Sprint(os.Getpid()) && len(fields) > 0 && fields[0] != "Z" {
				return false, nil
			}
		}
		return true, err
	})
}

// Await looks at a condition until it holds.
func Await(ctx context.Context, limit time.Duration, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
