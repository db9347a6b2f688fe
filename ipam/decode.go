package ipam

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/jsonobject"
)

// decode reads a JSON object, which may be absent; what names it in errors.
func decode(b []byte, what string, fields ...jsonobject.Field) error {
	if len(b) == 0 {
		return nil
	}
	return decodeError(what, jsonobject.Decode(b, fields...))
}

// decodeStrict refuses keys other than those of fields, since a misspelt key
// would silently mean its default. Keys match in any letter case, because
// containerd writes those of capabilities with capitals.
func decodeStrict(b []byte, what string, fields ...jsonobject.Field) error {
	if len(b) == 0 {
		return nil
	}
	err := jsonobject.Each(b, func(key string, value []byte) error {
		if slices.ContainsFunc(fields, func(f jsonobject.Field) bool { return strings.EqualFold(f.Name, key) }) {
			return nil
		}
		var known []string
		for _, f := range fields {
			known = append(known, f.Name)
		}
		return errorf(ErrField, "unknown key %q with value %.200s in %s; known are %s", key, value, what, strings.Join(known, ", "))
	})
	if errors.Is(err, ErrField) {
		return err
	}
	if err != nil {
		return decodeError(what, err)
	}
	return decode(b, what, fields...)
}

// decodeList reads a JSON list of any entries, which may be absent.
func decodeList(b []byte, what string, into any) error {
	if len(b) == 0 {
		return nil
	}
	err := json.Unmarshal(b, into)
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		err = &jsonobject.TypeError{Field: what, Kind: wrongType.Value}
	}
	return decodeError("network configuration", err)
}

func decodeError(what string, err error) error {
	var wrongType *jsonobject.TypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType):
		return errorf(ErrDecode, "%s: %w; see the plugin's documentation", what, err)
	}
	return errorf(ErrDecode, "%s is not valid JSON: %w", what, err)
}
