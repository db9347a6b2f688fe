package cases

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

type versionResult struct {
	CNIVersion        string   `json:"cniVersion"`
	SupportedVersions []string `json:"supportedVersions"`
}

func versionCases() []Case {
	return []Case{
		{Name: "version-lists-versions", Level: Must, What: "VERSION prints cniVersion and supportedVersions as one JSON object", Run: versionLists},
		{Name: "version-echoes-input", Level: Must, What: "VERSION's cniVersion is the one that the runtime sent", Run: versionEchoes},
		{Name: "version-needs-command-only", Level: Must, What: "VERSION needs no environment variable but CNI_COMMAND", Run: versionNeedsCommand},
		{Name: "version-refuses-unknown", Level: Must, What: "ADD with a version that VERSION does not list fails", Run: versionRefuses},
		{Name: "version-error-code", Level: Should, What: "the error code for an unsupported version is 1", Run: versionErrorCode},
	}
}

func parseVersion(r stage.Reply) (versionResult, error) {
	var v versionResult
	documents, err := stage.Documents(r.Stdout)
	if !r.OK() || err != nil || len(documents) != 1 {
		return v, stage.Breached(r, "VERSION gives no JSON object: %s", r.Brief())
	}
	if err := json.Unmarshal(documents[0], &v); err != nil {
		return v, stage.Breached(r, "VERSION: %v", err)
	}
	return v, nil
}

// Supported asks the plugin which versions it speaks.
func Supported(ctx context.Context, s *stage.Stage) ([]string, error) {
	v, err := parseVersion(s.Call(ctx, "VERSION", nil))
	return v.SupportedVersions, err
}

func versionLists(ctx context.Context, s *stage.Stage) error {
	r := s.Call(ctx, "VERSION", nil)
	v, err := parseVersion(r)
	if err != nil {
		return err
	}
	form := regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	if len(v.SupportedVersions) == 0 || !form.MatchString(v.CNIVersion) {
		return stage.Breached(r, "cniVersion is %q, supportedVersions are %v", v.CNIVersion, v.SupportedVersions)
	}
	for _, one := range v.SupportedVersions {
		if !form.MatchString(one) {
			return stage.Breached(r, "supported version %q is no semantic version", one)
		}
	}
	return nil
}

func versionEchoes(ctx context.Context, s *stage.Stage) error {
	r := s.Call(ctx, "VERSION", nil)
	v, err := parseVersion(r)
	if err == nil && v.CNIVersion != s.Version {
		err = stage.Breached(r, "cniVersion was %q and is answered with %q", s.Version, v.CNIVersion)
	}
	return err
}

func versionNeedsCommand(ctx context.Context, s *stage.Stage) error {
	_, err := parseVersion(s.Call(ctx, "VERSION", nil, stage.NoEnv("CNI_PATH")))
	return err
}

// unsupported is a version that no plugin speaks.
const unsupported = "99.0.0"

func versionRefuses(ctx context.Context, s *stage.Stage) error {
	supported, err := Supported(ctx, s)
	if err != nil {
		return err
	}
	if slices.Contains(supported, unsupported) {
		return stage.Inapplicable("it says that it supports %s", unsupported)
	}
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	return fails(s.Add(ctx, a, stage.Key("cniVersion", unsupported)), "cniVersion "+unsupported+" is not among "+strings.Join(supported, ", "))
}

func versionErrorCode(ctx context.Context, s *stage.Stage) error {
	a, err := s.Container(ctx, "a")
	if err != nil {
		return err
	}
	_, err = codeIs(s.Add(ctx, a, stage.Key("cniVersion", unsupported)), 1)
	return err
}
