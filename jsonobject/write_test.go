package jsonobject

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	type inner struct {
		A int64 `json:"a"`
	}
	type document struct {
		Text, Odd, Absent string
		Number            int64
		None, Some        []string
		Inner             inner
		Empty             map[string]string
		List              []inner
		Raw               json.RawMessage
	}
	want := document{
		Text: "a", Odd: "\"\\\n\x00<>&é\u2028😀", Number: -1 << 63, None: []string{}, Some: []string{"x", "", `"`},
		Inner: inner{7}, Empty: map[string]string{}, List: []inner{{1}, {2}}, Raw: json.RawMessage(`[1,{"b":null}]`),
	}
	itself := func(s string) string { return s }
	text := Write(func(w *Writer) {
		w.String("Text", want.Text)
		w.String("Odd", want.Odd)
		w.NonEmpty("Absent", want.Absent)
		w.Int("Number", want.Number)
		Strings(w, "None", want.None, itself)
		Strings(w, "Some", want.Some, itself)
		w.Object("Inner", func(w *Writer) { w.Int("a", want.Inner.A) })
		w.Object("Empty", func(*Writer) {})
		Objects(w, "List", want.List, func(w *Writer, i inner) { w.Int("a", i.A) })
		w.Raw("Raw", want.Raw)
	})
	var got document
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", text, d)
	}
}

func TestEmptyObjectIsWritten(t *testing.T) {
	if text := string(Write(func(*Writer) {})); text != "{}" {
		t.Error(text)
	}
}

func FuzzString(f *testing.F) {
	f.Add("a\"\\\n\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		text := Write(func(w *Writer) { w.String(s, s) })
		var got map[string]string
		if err := json.Unmarshal(text, &got); err != nil || len(got) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		var want map[string]string // with invalid UTF-8 replaced
		b, err := json.Marshal(map[string]string{s: s})
		if err == nil {
			err = json.Unmarshal(b, &want)
		}
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-encoding/json +ours):\n%s", d)
		}
	})
}
