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
	whole := wholeOutput(t)
	reader, writer := io.Pipe()
	finished := make(chan []guestResult)
	go func() { finished <- readResults(io.TeeReader(reader, whole)) }()
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

// wholeOutput is a file for all that the guest says, which is too much for the
// log of one test.
func wholeOutput(t *testing.T) io.Writer {
	path, err := filepath.Abs("../../build/guest.log")
	if err != nil {
		t.Fatal(err)
	}
	if err = os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	t.Logf("all that the guest says is in %s", path)
	return file
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
	name, outcome, took, log string
}

// outcomeLine is what `go test -v` prints at the end of a test.
var outcomeLine = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+s)\)`)

// turnLine is what it prints when another test goes on.
var turnLine = regexp.MustCompile(`^=== (?:RUN|CONT|NAME|PAUSE) +(\S+)`)

// readResults reads the output of test binaries run with -test.v. A line belongs
// to the test whose turn it is; what follows a result and is indented, to that.
func readResults(output io.Reader) []guestResult {
	var results []guestResult
	logs := map[string]string{}
	turn := ""
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := outcomeLine.FindStringSubmatch(line); m != nil {
			turn = m[2]
			results = append(results, guestResult{name: m[2], outcome: m[1], took: m[3]})
		} else if m := turnLine.FindStringSubmatch(line); m != nil {
			turn = m[1]
		} else if strings.HasPrefix(line, " ") {
			logs[turn] += line + "\n"
		}
	}
	_, _ = io.Copy(io.Discard, output)
	for i, r := range results {
		results[i].log = logs[r.name]
	}
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
				t.Errorf("failed in the guest after %s:\n%s", r.took, r.log)
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
	output := "=== RUN   TestA\n=== RUN   TestA/b\n=== RUN   TestA/c\n    of c\n=== NAME  TestA/b\n    of b\n" +
		"--- FAIL: TestA (0.10s)\n    --- PASS: TestA/b (0.01s)\n    --- SKIP: TestA/c (0.00s)\n        why\nPASS\n"
	got := fmt.Sprint(readResults(strings.NewReader(output)))
	want := "[{TestA FAIL 0.10s } {TestA/b PASS 0.01s     of b\n} {TestA/c SKIP 0.00s     of c\n        why\n}]"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
