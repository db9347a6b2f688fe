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
		`{"text":"a","text":"b"}`, `{"text":"\u00e9\n\ud83d\ude00\"\\"}`, "{\"text\":\"\xff\"}", `{"text":"\ud800"}`,
		`{"some":0}`, `{"some":null}`, `{"other":{"text":"inner"},"more":[{"int":2}]}`, "\n{ \"int\" :\t12 }\n", `{"int":-0}`, `{"raw":"s"}`, `{"":1}`,
	}
}

func TestWrongTypesAreNamedAndTheRestIsRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"text":1.5,"int":2}`:         "text cannot be a JSON number 1.5",
		`{"int":2,"text":{}}`:          "text cannot be a JSON object",
		`{"text":["a"],"int":2}`:       "text cannot be a JSON array",
		`{"text":true,"int":2}`:        "text cannot be a JSON bool",
		`{"some":"1","int":2}`:         "some cannot be a JSON string",
		`{"list":"a","int":2}`:         "list cannot be a JSON string",
		`{"list":[1],"int":2}`:         "list cannot be a JSON number 1",
		`{"text":1,"list":2,"int":2}`:  "text cannot be a JSON number 1",
		`{"int":1e3,"int":2}`:          "int cannot be a JSON number 1e3",
		`{"int":1.0,"int":2}`:          "int cannot be a JSON number 1.0",
		`{"int":9223372036854775808}`:  "int cannot be a JSON number 9223372036854775808",
		`[{"int":2}]`:                  "a JSON array is no object",
		`"text"`:                       "a JSON string is no object",
		`{"int":"2","int":2,"x":null}`: "int cannot be a JSON string",
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
		// Of a list that comes twice encoding/json keeps entries where null follows.
		if err != nil || bytes.Contains(bytes.ToLower(text), []byte("null")) {
			return
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-encoding/json +ours):\n%s", d)
		}
	})
}
