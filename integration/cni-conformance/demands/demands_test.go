package demands

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/cases"
)

func TestEachDemandHasCasesOrAReason(t *testing.T) {
	for _, d := range All() {
		if (len(d.Cases) == 0) == (d.Why == "") {
			t.Errorf("%s: %s: has cases %v and the reason %q", d.Section, d.Text, d.Cases, d.Why)
		}
		for _, name := range d.Cases {
			if _, err := cases.Find(name); err != nil {
				t.Errorf("%s: %s: %v", d.Section, d.Text, err)
			}
		}
	}
}

func TestOnlyPracticeGoesBeyondTheSpecification(t *testing.T) {
	for _, c := range Beyond() {
		if c.Level != cases.Practice {
			t.Errorf("case %s is a %s, and no demand names it", c.Name, c.Level)
		}
	}
}

func TestACaseIsNoStricterThanWhatItStandsFor(t *testing.T) {
	for _, c := range cases.All() {
		if c.Level != cases.Must {
			continue
		}
		strict := false
		for _, d := range All() {
			if d.Level == cases.Must && strings.Contains(" "+strings.Join(d.Cases, " ")+" ", " "+c.Name+" ") {
				strict = true
			}
		}
		if !strict {
			t.Errorf("case %s is a MUST, and stands for no MUST of the specification", c.Name)
		}
	}
}

func TestNamesAreUniqueAndReadable(t *testing.T) {
	seen := map[string]bool{}
	form := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`)
	for _, c := range cases.All() {
		if seen[c.Name] || !form.MatchString(c.Name) || c.What == "" || c.Run == nil {
			t.Errorf("case %q", c.Name)
		}
		seen[c.Name] = true
	}
}

func TestReadmeHasTheTableOfDemands(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), Markdown()) {
		t.Error("README.md has another table of demands; put in what `go run ./integration/cni-conformance -demands` prints")
	}
}
