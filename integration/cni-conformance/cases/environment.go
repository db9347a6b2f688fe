package cases

import (
	"context"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

func environmentCases() []Case {
	return []Case{
		{Name: "env-required", Level: Must, What: "ADD, DEL and CHECK fail when a required variable is missing", Run: envRequired},
		{Name: "env-required-code", Level: Should, What: "the error code for a missing variable is 4", Run: envRequiredCode},
		{Name: "env-required-named", Level: Must, What: "an error of code 4 names the variable", Run: envRequiredNamed},
		{Name: "env-unknown-command", Level: Must, What: "a CNI_COMMAND that is not known fails", Run: envUnknownCommand},
		{Name: "env-unknown-command-code", Level: Should, What: "the error code for an unknown CNI_COMMAND is 4, and CNI_COMMAND is named", Run: envUnknownCommandCode},
		{Name: "env-no-command", Level: Practice, What: "without CNI_COMMAND nothing is printed that could be taken for a result", Run: envNoCommand},
		{Name: "env-optional-args", Level: Must, What: "CNI_ARGS may be missing", Run: envOptionalArgs},
		{Name: "env-optional-path", Level: Must, What: "CNI_PATH may be missing for ADD, CHECK and DEL, unless a delegate has to be found", Run: envOptionalPath},
		{Name: "env-runtime-args", Level: Practice, What: "the arguments that Kubernetes' runtimes always send are accepted, in any order", Run: envRuntimeArgs},
		{Name: "env-containerid-form", Level: Practice, What: "a container ID with a path in it is refused", Run: envContainerIDForm},
		{Name: "env-ifname-unusable", Level: Must, What: "an interface name that the kernel cannot have fails", Kinds: interfaceOnly(), Run: envIfNameUnusable},
	}
}

// eachMissing calls the plugin once for each required variable, without it.
func eachMissing(ctx context.Context, s *stage.Stage, judge func(r stage.Reply, variable string) error) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	required := []struct {
		verb      string
		variables []string
	}{
		{"ADD", []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}},
		{"DEL", []string{"CNI_CONTAINERID", "CNI_IFNAME"}},
		{"CHECK", []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}},
	}
	for _, one := range required {
		if one.verb == "CHECK" && !s.AtLeast("0.4.0") {
			continue
		}
		for _, variable := range one.variables {
			if err := judge(s.Call(ctx, one.verb, a, stage.NoEnv(variable)), variable); err != nil {
				return err
			}
		}
	}
	return nil
}

func envRequired(ctx context.Context, s *stage.Stage) error {
	return eachMissing(ctx, s, func(r stage.Reply, variable string) error {
		return fails(r, variable+" is missing")
	})
}

func envRequiredCode(ctx context.Context, s *stage.Stage) error {
	return eachMissing(ctx, s, func(r stage.Reply, _ string) error {
		_, err := codeIs(r, 4)
		return err
	})
}

func envRequiredNamed(ctx context.Context, s *stage.Stage) error {
	return eachMissing(ctx, s, func(r stage.Reply, variable string) error {
		e, err := stage.ErrorOf(r)
		if err != nil || *e.Code != 4 {
			return stage.Inapplicable("it does not use code 4")
		}
		if !strings.Contains(*e.Msg, variable) {
			return stage.Breached(r, "the message does not name %s: %s", variable, *e.Msg)
		}
		return nil
	})
}

func envUnknownCommand(ctx context.Context, s *stage.Stage) error {
	return fails(s.Call(ctx, "FROBNICATE", s.Unmade("a")), "there is no such command")
}

func envUnknownCommandCode(ctx context.Context, s *stage.Stage) error {
	r := s.Call(ctx, "FROBNICATE", s.Unmade("a"))
	e, err := codeIs(r, 4)
	if err == nil && !strings.Contains(*e.Msg, "CNI_COMMAND") {
		err = stage.Breached(r, "the message does not name CNI_COMMAND: %s", *e.Msg)
	}
	return err
}

func envNoCommand(ctx context.Context, s *stage.Stage) error {
	r := s.Call(ctx, "ADD", s.Unmade("a"), stage.NoEnv("CNI_COMMAND"))
	if r.OK() && strings.TrimSpace(r.Stdout) != "" {
		return stage.Breached(r, "it succeeds and prints something")
	}
	return nil
}

func envOptionalArgs(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	if err := succeeds(s.Add(ctx, a, stage.NoEnv("CNI_ARGS"))); err != nil {
		return err
	}
	return succeeds(s.Call(ctx, "DEL", a, stage.NoEnv("CNI_ARGS")))
}

func envOptionalPath(ctx context.Context, s *stage.Stage) error {
	if s.Subject.Kind == "interface" && s.Subject.IPAMType() != "" {
		if _, err := s.Subject.Find(s.Subject.IPAMType()); err == nil && !inProcess(ctx, s) {
			return stage.Inapplicable("it finds its delegate %s through CNI_PATH", s.Subject.IPAMType())
		}
	}
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	if err := succeeds(s.Add(ctx, a, stage.NoEnv("CNI_PATH"))); err != nil {
		return err
	}
	if s.AtLeast("0.4.0") {
		if err := succeeds(s.Call(ctx, "CHECK", a, stage.NoEnv("CNI_PATH"))); err != nil {
			return err
		}
	}
	return succeeds(s.Call(ctx, "DEL", a, stage.NoEnv("CNI_PATH")))
}

// inProcess reports whether the plugin does without the program of its
// delegate: it attaches where CNI_PATH leads nowhere.
func inProcess(ctx context.Context, s *stage.Stage) bool {
	a, err := s.Container(ctx, "probe")
	if err != nil {
		return false
	}
	r := s.Add(ctx, a, stage.Env("CNI_PATH", stage.Own+"/empty"))
	s.Call(ctx, "DEL", a)
	return r.OK()
}

func envRuntimeArgs(ctx context.Context, s *stage.Stage) error {
	for i, args := range []string{
		"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=conformance;K8S_POD_UID=0f2c",
		"K8S_POD_UID=0f2c;K8S_POD_NAME=web-0;IgnoreUnknown=1;K8S_POD_INFRA_CONTAINER_ID=conformance;K8S_POD_NAMESPACE=default",
	} {
		a, err := s.Container(ctx, []string{"a", "b"}[i])
		if err != nil {
			return err
		}
		a.Args = args
		if err := succeeds(s.Add(ctx, a)); err != nil {
			return err
		}
		if err := succeeds(s.Call(ctx, "DEL", a)); err != nil {
			return err
		}
	}
	return nil
}

func envContainerIDForm(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	for _, id := range []string{"../escape", "-dash", "with space"} {
		if err := fails(s.Call(ctx, "ADD", a, stage.Env("CNI_CONTAINERID", id)), "the container ID is "+id); err != nil {
			return err
		}
	}
	return nil
}

func envIfNameUnusable(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	for _, name := range []string{"sixteen-letters0", "with/slash", ".", "..", "with space"} {
		if err := fails(s.Call(ctx, "ADD", a, stage.Env("CNI_IFNAME", name)), "no interface can have the name "+name); err != nil {
			return err
		}
	}
	return nil
}
