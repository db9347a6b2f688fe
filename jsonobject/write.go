package jsonobject

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Writer appends the members of an object.
type Writer struct {
	text []byte
}

// Write returns the text of the object whose members are written by members.
func Write(members func(*Writer)) []byte {
	w := Writer{text: make([]byte, 0, 1024)}
	w.object(members)
	return w.text
}

func (w *Writer) object(members func(*Writer)) {
	w.text = append(w.text, '{')
	members(w)
	w.text = append(w.text, '}')
}

// begin writes a name, and what parts it from the member before.
func (w *Writer) begin(name string) {
	if w.text[len(w.text)-1] != '{' {
		w.text = append(w.text, ',')
	}
	w.quote(name)
	w.text = append(w.text, ':')
}

// quote writes a string, in which invalid UTF-8 is replaced.
func (w *Writer) quote(s string) { w.text, _ = jsontext.AppendQuote(w.text, s) }

// String writes a string.
func (w *Writer) String(name, value string) {
	w.begin(name)
	w.quote(value)
}

// NonEmpty writes a string unless it is empty.
func (w *Writer) NonEmpty(name, value string) {
	if value != "" {
		w.String(name, value)
	}
}

// Int writes an integer.
func (w *Writer) Int(name string, value int64) {
	w.begin(name)
	w.text = strconv.AppendInt(w.text, value, 10)
}

// Object writes an object.
func (w *Writer) Object(name string, members func(*Writer)) {
	w.begin(name)
	w.object(members)
}

// Raw writes a value that is JSON already.
func (w *Writer) Raw(name string, value []byte) {
	w.begin(name)
	w.text = append(w.text, value...)
}

// Strings writes a list of the strings that text makes of the entries.
func Strings[T any](w *Writer, name string, entries []T, text func(T) string) {
	list(w, name, entries, func(e T) { w.quote(text(e)) })
}

// Objects writes a list of objects, one for each entry.
func Objects[T any](w *Writer, name string, entries []T, members func(*Writer, T)) {
	list(w, name, entries, func(e T) { w.object(func(w *Writer) { members(w, e) }) })
}

func list[T any](w *Writer, name string, entries []T, write func(T)) {
	w.begin(name)
	w.text = append(w.text, '[')
	for i, e := range entries {
		if i > 0 {
			w.text = append(w.text, ',')
		}
		write(e)
	}
	w.text = append(w.text, ']')
}
