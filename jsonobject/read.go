// Package jsonobject reads and writes JSON objects member by member.
//
// Package encoding/json learns the shape of each Go type that it meets when it
// meets it first, which takes 0.1 ms: nothing for a daemon, and much for a plugin,
// which lives for three. Here the code says what it reads and writes. The grammar is
// that of package jsontext, and what may differ between two readers of JSON is as in
// encoding/json: names match in any letter case, of several alike the last counts
// (objects are not merged), null empties a list and a pointer and leaves a string or
// number as it is, and invalid UTF-8 is replaced.
package jsonobject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// TypeError means that a member, or the text itself, is not of the JSON type that
// it should be.
type TypeError struct {
	Field string // "" for the text itself
	Kind  string // what it is: "string", "number 1.5", "object", ...
	Want  string // what it should be: "a string", "an object", ...
}

// Error names the member.
func (e *TypeError) Error() string {
	field := e.Field
	if field == "" {
		field = "it"
	}
	return field + " is a JSON " + e.Kind + ", not " + e.Want
}

// In is the same error for who reads a larger text, in which the object has a name.
func (e *TypeError) In(section string) *TypeError {
	inner := *e
	inner.Field = strings.Trim(section+"."+e.Field, ".")
	return &inner
}

// FromStandard is what encoding/json says of a type, for what is left to it.
func FromStandard(e *json.UnmarshalTypeError) *TypeError {
	want := "a " + e.Type.String()
	switch e.Type.Kind() {
	case reflect.Struct, reflect.Map:
		want = wantObject
	case reflect.Slice:
		want = wantList
	case reflect.String:
		want = wantString
	case reflect.Int, reflect.Uint16, reflect.Uint64:
		want = wantInt
	}
	return &TypeError{Field: e.Field, Kind: e.Value, Want: want}
}

const (
	wantObject  = "an object"
	wantList    = "a list"
	wantString  = "a string"
	wantInt     = "an integer"
	wantStrings = "a list of strings"
)

// Each calls member for each member of an object, in their order. The value is
// valid JSON and a part of the text. The text null has no members. The error is that of member, a [TypeError], or says where the text is no
// JSON, which may be found when some members have been told of.
func Each(text []byte, member func(name string, value []byte) error) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if kind := d.PeekKind(); kind != jsontext.KindBeginObject {
		value, err := d.ReadValue()
		if err == nil {
			err = ended(d)
		}
		if err == nil && kind != jsontext.KindNull {
			err = &TypeError{Kind: kindOf(value), Want: wantObject}
		}
		return notJSON(err)
	}
	if _, err := d.ReadToken(); err != nil {
		return notJSON(err)
	}
	for d.PeekKind() != jsontext.KindEndObject {
		token, err := d.ReadToken()
		if err != nil {
			return notJSON(err)
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return notJSON(err)
		}
		if err := member(name, value); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return notJSON(err)
	}
	return notJSON(ended(d))
}

// ended makes sure that nothing follows.
func ended(d *jsontext.Decoder) error {
	_, err := d.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("something follows the end of the text")
	}
	return err
}

// notJSON tells a text that ends early from a reader that has ended.
func notJSON(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Field is a member that is read: into *string, *int, **int, *[]string or
// *json.RawMessage.
type Field struct {
	Name string
	Into any
}

// Decode reads members of an object and passes over others. Where one is of another
// type than its field, the first such is the error, a [TypeError], and the others are
// read.
func Decode(text []byte, fields ...Field) error {
	var wrong error
	err := Each(text, func(name string, value []byte) error {
		for _, f := range fields {
			if !strings.EqualFold(f.Name, name) {
				continue
			}
			if err := f.read(value); err != nil && wrong == nil {
				wrong = err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return wrong
}

func (f Field) read(value []byte) error {
	if raw, ok := f.Into.(*json.RawMessage); ok {
		*raw = bytes.Clone(value)
		return nil
	}
	if kindByte(value) == jsontext.KindNull {
		f.empty()
		return nil
	}
	ok, want := false, wantInt
	switch into := f.Into.(type) {
	case *string:
		ok, want = readString(value, into), wantString
	case *int:
		var n int
		if n, ok = readInt(value); ok {
			*into = n
		}
	case **int:
		var n int
		if n, ok = readInt(value); ok {
			*into = &n
		}
	case *[]string:
		return f.readStrings(value, into)
	default:
		panic(fmt.Sprintf("field %s: nothing is read into %T", f.Name, f.Into))
	}
	if !ok {
		return &TypeError{Field: f.Name, Kind: kindOf(value), Want: want}
	}
	return nil
}

// empty is what null does.
func (f Field) empty() {
	switch into := f.Into.(type) {
	case **int:
		*into = nil
	case *[]string:
		*into = nil
	}
}

func (f Field) readStrings(value []byte, into *[]string) error {
	if kindByte(value) != jsontext.KindBeginArray {
		return &TypeError{Field: f.Name, Kind: kindOf(value), Want: wantStrings}
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(value), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	list := []string{}
	for d.PeekKind() != jsontext.KindEndArray {
		element, err := d.ReadValue()
		if err != nil {
			return err
		}
		var s string
		if kindByte(element) != jsontext.KindNull && !readString(element, &s) {
			return &TypeError{Field: fmt.Sprintf("%s[%d]", f.Name, len(list)), Kind: kindOf(element), Want: wantString}
		}
		list = append(list, s)
	}
	*into = list
	return nil
}

func readString(value []byte, into *string) bool {
	if kindByte(value) != jsontext.KindString {
		return false
	}
	text, _ := jsontext.AppendUnquote(nil, value) // the error is invalid UTF-8, replaced already
	*into = string(text)
	return true
}

func readInt(value []byte) (int, bool) {
	n, err := strconv.ParseInt(string(value), 10, 0)
	return int(n), err == nil
}

func kindByte(value []byte) jsontext.Kind { return jsontext.Value(value).Kind() }

// kindOf names the type of a value, with a number itself.
func kindOf(value []byte) string {
	switch kind := kindByte(value); kind {
	case jsontext.KindNumber:
		return fmt.Sprintf("number %.40s", value)
	case jsontext.KindBeginObject:
		return "object"
	case jsontext.KindBeginArray:
		return "array"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "bool"
	default:
		return kind.String()
	}
}
