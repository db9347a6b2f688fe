package jsonobject

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample has a member of each kind that is read.
type sample struct {
	Text string          `json:"text"`
	Int  int             `json:"int"`
	Some *int            `json:"some"`
	List []string        `json:"list"`
	Raw  json.RawMessage `json:"raw"`
}

func (s *sample) fields() []Field {
	return []Field{{"text", &s.Text}, {"int", &s.Int}, {"some", &s.Some}, {"list", &s.List}, {"raw", &s.Raw}}
}

func TestMembersAreReadAsEncodingJSONReadsThem(t *testing.T) {
	for _, text := range readable() {
		var want, got sample
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if err := Decode([]byte(text), got.fields()...); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
}

func readable() []string {
	return []string{
		`{}`, ` null `, `{"text":"a","int":1,"list":["a","b"],"raw":{"a":[1, 2]}}`,
		`{"TEXT":"a","Int":-7,"LIST":[],"rAw":null}`, `{"text":null,"int":null,"list":null}`,
		`{"text":"a","text":null,"int":1,"int":null,"some":1,"some":null,"list":["a"],"list":null,"raw":1,"raw":null}`,
		`{"text":"a","text":"b"}`, `{"text":"\u00e9\n\ud83d\ude00\"\\"}`, "{\"text\":\"\xff\"}", `{"text":"\ud800"}`,
		`{"some":0}`, `{"some":null}`, `{"other":{"text":"inner"},"more":[{"int":2}]}`, "\n{ \"int\" :\t12 }\n", `{"int":-0}`, `{"raw":"s"}`, `{"":1}`,
	}
}

func TestWrongTypesAreNamedAndTheRestIsRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"text":1.5,"int":2}`:         "text is a JSON number 1.5, not a string",
		`{"int":2,"text":{}}`:          "text is a JSON object, not a string",
		`{"text":["a"],"int":2}`:       "text is a JSON array, not a string",
		`{"text":true,"int":2}`:        "text is a JSON bool, not a string",
		`{"some":"1","int":2}`:         "some is a JSON string, not an integer",
		`{"list":"a","int":2}`:         "list is a JSON string, not a list of strings",
		`{"list":["a",1],"int":2}`:     "list[1] is a JSON number 1, not a string",
		`{"text":1,"list":2,"int":2}`:  "text is a JSON number 1, not a string",
		`{"int":1e3,"int":2}`:          "int is a JSON number 1e3, not an integer",
		`{"int":1.0,"int":2}`:          "int is a JSON number 1.0, not an integer",
		`{"int":9223372036854775808}`:  "int is a JSON number 9223372036854775808, not an integer",
		`[{"int":2}]`:                  "it is a JSON array, not an object",
		`"text"`:                       "it is a JSON string, not an object",
		`{"int":"2","int":2,"x":null}`: "int is a JSON string, not an integer",
	} {
		var s sample
		err := Decode([]byte(text), s.fields()...)
		var wrong *TypeError
		if !errors.As(err, &wrong) || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		if strings.HasSuffix(text, `"int":2}`) && s.Int != 2 {
			t.Errorf("%s: the other member is not read", text)
		}
	}
}

func TestWhatIsNoJSONIsAnErrorOfNoType(t *testing.T) {
	for _, text := range []string{
		``, ` `, `{`, `{"text"`, `{"text":`, `{"text":"a"`, `{"text":"a"}}`, `{"text":"a"} 1`, `{"text":1 "int":2}`, `{text:1}`, `{"text":"a",}`, `nul`, `null 1`,
		`{"text":"` + "\x01" + `"}`, `{"text":"\x"}`, `{"raw":[1,]}`, `{"raw":{"a"}}`, `[`, `[1`, `[] []`, `{"int":01}`, strings.Repeat(`{"a":`, 20_000),
	} {
		var s sample
		err := Decode([]byte(text), s.fields()...)
		var wrong *TypeError
		if err == nil || errors.As(err, &wrong) {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}

func TestErrorOfASectionNamesIt(t *testing.T) {
	inner := &TypeError{Field: "b", Kind: "bool", Want: "a string"}
	for want, err := range map[string]error{
		"a.b is a JSON bool, not a string":   inner.In("a"),
		"b is a JSON bool, not a string":     inner.In(""),
		"a is a JSON bool, not a string":     (&TypeError{Kind: "bool", Want: "a string"}).In("a"),
		"x.a.b is a JSON bool, not a string": inner.In("a").In("x"),
	} {
		if err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for text, want := range map[string]string{
		`{"text":1}`: "text is a JSON number, not a string", `{"int":"a"}`: "int is a JSON string, not an integer",
		`{"list":{}}`: "list is a JSON object, not a list", `1`: "it is a JSON number, not an object",
	} {
		var wrong *json.UnmarshalTypeError
		if err := json.Unmarshal([]byte(text), &sample{}); !errors.As(err, &wrong) || FromStandard(wrong).Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestMembersComeInTheirOrderUntilAnError(t *testing.T) {
	enough := errors.New("enough")
	var seen []string
	err := Each([]byte(`{"b": [1], "a":"x","b":2,"c":3}`), func(name string, value []byte) error {
		seen = append(seen, name+"="+string(value))
		if len(seen) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"b=[1]", `a="x"`, "b=2"}, seen); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWhatIsReadIsNotTheTextsMemory(t *testing.T) {
	text := []byte(`{"raw":[1],"text":"abc"}`)
	var s sample
	if err := Decode(text, s.fields()...); err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] = 'x'
	}
	if string(s.Raw) != "[1]" || s.Text != "abc" {
		t.Errorf("%s %s", s.Raw, s.Text)
	}
}

// FuzzDecode compares with encoding/json.
func FuzzDecode(f *testing.F) {
	for _, text := range readable() {
		f.Add([]byte(text))
	}
	for _, text := range []string{`{"text":1}`, `[]`, `{"list":[1,"a"]}`, `{`, `{"int":1e400}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want, got sample
		wantErr := json.Unmarshal(text, &want)
		err := Decode(text, got.fields()...)
		if (wantErr == nil) != (err == nil) {
			t.Fatalf("error %v, encoding/json's %v", err, wantErr)
		}
		// Of a list that comes twice encoding/json keeps an entry where null follows.
		if err != nil || bytes.Contains(text, []byte("[")) && bytes.Contains(text, []byte("null")) {
			return
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-encoding/json +ours):\n%s", d)
		}
	})
}
