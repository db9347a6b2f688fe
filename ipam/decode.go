package ipam

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/ropeway-net/ropeway/jsonobject"
)

// decode reads a section of the network configuration, which may be absent.
func decode(b []byte, section string, fields ...jsonobject.Field) error {
	if len(b) == 0 {
		return nil
	}
	return decodeError(section, jsonobject.Decode(b, fields...))
}

// decodeStrict refuses keys other than those of fields, since a misspelt key
// would silently mean its default. Keys match in any letter case, because
// containerd writes those of capabilities with capitals.
func decodeStrict(b []byte, section string, fields ...jsonobject.Field) error {
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
		return errorf(ErrField, "unknown key %q with value %.200s in %s; known are %s", key, value, section, strings.Join(known, ", "))
	})
	if errors.Is(err, ErrField) {
		return err
	}
	if err != nil {
		return decodeError(section, err)
	}
	return decode(b, section, fields...)
}

// decodeList reads a list of any entries, which may be absent.
func decodeList(b []byte, section string, into any) error {
	if len(b) == 0 {
		return nil
	}
	err := json.Unmarshal(b, into)
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		err = jsonobject.FromStandard(wrongType)
	}
	return decodeError(section, err)
}

// decodeError says where in the configuration something cannot be read; nil is no
// error.
func decodeError(section string, err error) error {
	var wrongType *jsonobject.TypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType):
		return errorf(ErrDecode, "network configuration: %w; correct it", wrongType.In(section))
	}
	return errorf(ErrDecode, "network configuration is not valid JSON: %w; check it with: python3 -m json.tool", err)
}
