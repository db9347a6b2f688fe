// Package guest runs the tests of package kernel and all scenarios once more
// inside a Debian kernel, which has the modules that the IPIP modes need.
package guest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ropeway-net/ropeway/integration/kernels"
	"github.com/ropeway-net/ropeway/integration/lab"
)

// TestInDebianKernel reports each test of the guest as a subtest.
func TestInDebianKernel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), guestTime(t))
	defer cancel()
	if err := kernels.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	bin, err := lab.FindBinaries("")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"/ropeway/bin": bin, "/ropeway/scenarios/testdata": "../scenarios/testdata"}
	for _, pkg := range []string{"kernel", "integration/scenarios"} {
		name := filepath.Base(pkg)
		files["/ropeway/"+name+"/"+name+".test"] = compileTests(ctx, t, pkg)
	}
	reader, writer := io.Pipe()
	finished := make(chan []guestResult)
	go func() { finished <- readResults(io.TeeReader(reader, os.Stderr)) }()
	code, err := kernels.Run(ctx, kernels.Job{
		Files:  files,
		Env:    []string{"ROPEWAY_BIN=/ropeway/bin"},
		Output: writer,
		Command: []string{"sh", "-c", `status=0
			cd /ropeway/kernel && ./kernel.test -test.v || status=1
			cd /ropeway/scenarios && ./scenarios.test -test.v -test.parallel 4 -test.run ^TestScenarios$ || status=1
			exit $status`},
	})
	_ = writer.Close()
	results := <-finished
	report(t, results)
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Errorf("the tests in the guest ended with exit code %d", code)
	}
	if len(results) < 50 {
		t.Errorf("only %d tests reported from the guest", len(results))
	}
}

// guestTime is what is left of the test binary's own time.
func guestTime(t *testing.T) time.Duration {
	if deadline, ok := t.Deadline(); ok {
		return time.Until(deadline) - 20*time.Second
	}
	return time.Hour
}

func compileTests(ctx context.Context, t *testing.T, pkg string) string {
	path := filepath.Join(t.TempDir(), filepath.Base(pkg)+".test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-o", path, "github.com/ropeway-net/ropeway/"+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the tests of %s: %v\n%s", pkg, err, out)
	}
	return path
}

// guestResult is a test of the guest that has ended.
type guestResult struct {
	name, outcome, log string
}

// outcomeLine is what `go test -v` prints at the end of a test.
var outcomeLine = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)

// readResults reads the output of test binaries run with -test.v. What follows a
// result and is indented belongs to it.
func readResults(output io.Reader) []guestResult {
	var results []guestResult
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := outcomeLine.FindStringSubmatch(line); m != nil {
			results = append(results, guestResult{name: m[2], outcome: m[1]})
			continue
		}
		if len(results) > 0 && strings.HasPrefix(line, " ") {
			results[len(results)-1].log += line + "\n"
		}
	}
	_, _ = io.Copy(io.Discard, output)
	return results
}

// report makes the guest's leaf tests subtests of this one.
func report(t *testing.T, results []guestResult) {
	for _, r := range results {
		isParent := false
		for _, other := range results {
			isParent = isParent || strings.HasPrefix(other.name, r.name+"/")
		}
		if isParent {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			switch r.outcome {
			case "FAIL":
				t.Error("failed in the guest:\n" + r.log)
			case "SKIP":
				if strings.HasPrefix(r.name, "TestScenarios/") {
					t.Error("this kernel has what scenarios need, and yet one was left out:\n" + r.log)
				}
				t.Skip(strings.TrimSpace(r.log))
			}
		})
	}
}

// TestReadResultsFindsEveryOutcome guards against a guest whose failures nobody
// sees.
func TestReadResultsFindsEveryOutcome(t *testing.T) {
	output := "=== RUN   TestA\n--- FAIL: TestA (0.10s)\n    --- PASS: TestA/b (0.01s)\n    --- SKIP: TestA/c (0.00s)\n        why\n"
	got := fmt.Sprint(readResults(strings.NewReader(output)))
	want := "[{TestA FAIL } {TestA/b PASS } {TestA/c SKIP         why\n}]"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
