package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
)

// constantsIn finds the constants of a file whose names begin with prefix, and
// their values as written.
func constantsIn(t *testing.T, path, prefix string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.HasPrefix(spec.Names[0].Name, prefix) && len(spec.Values) == 1 {
			if value, ok := spec.Values[0].(*ast.BasicLit); ok {
				found[spec.Names[0].Name] = value.Value
			}
		}
		return true
	})
	if len(found) == 0 {
		t.Fatalf("%s has no constants %s…", path, prefix)
	}
	return found
}

func TestTableOfErrorCodesIsTheCodes(t *testing.T) {
	want := map[string]string{}
	for name, code := range map[string]uint{
		"ErrUnsupportedField":       types.ErrUnsupportedField,
		"ErrIncompatibleCNIVersion": types.ErrIncompatibleCNIVersion, "ErrInvalidEnvironmentVariables": types.ErrInvalidEnvironmentVariables,
		"ErrIOFailure": types.ErrIOFailure, "ErrDecodingFailure": types.ErrDecodingFailure,
		"ErrInvalidNetworkConfig": types.ErrInvalidNetworkConfig, "ErrInvalidNetNS": types.ErrInvalidNetNS,
		"ErrTryAgainLater": types.ErrTryAgainLater, "ErrPluginNotAvailable": types.ErrPluginNotAvailable, "ErrLimitedConnectivity": types.ErrLimitedConnectivity,
		"ErrInternal": types.ErrInternal,
	} {
		want[name] = fmt.Sprint(code)
	}
	for path, prefix := range map[string]string{"errors.go": "code", "../../ipam/errors.go": "Code"} {
		for name, code := range constantsIn(t, path, prefix) {
			want[name] = code
		}
	}
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| (\w+) \| [^|]+ \| [^|]+ \|$`)
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		got[m[2]] = m[1]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/errors.md (-code +page):\n%s", diff)
	}
}

// TestEveryCodeThatIsUsedIsInTheTable finds the codes of the specification that
// the plugins' sources name.
func TestEveryCodeThatIsUsedIsInTheTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`types\.(Err[A-Z]\w+)`)
	for _, dir := range []string{".", "../ropeway-ipam", "../protocol", "../../ipam"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			source, err := os.ReadFile(dir + "/" + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range used.FindAllStringSubmatch(string(source), -1) {
				if !strings.Contains(string(page), "| "+m[1]+" |") {
					t.Errorf("%s/%s uses %s, which docs/errors.md does not have", dir, e.Name(), m[1])
				}
			}
		}
	}
}
