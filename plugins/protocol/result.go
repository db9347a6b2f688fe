package protocol

import (
	"encoding/json"
	"fmt"
	"slices"
)

// RefuseNulls finds entries of a result's lists that are null, with which the
// library that converts results does not reckon: it would panic.
func RefuseNulls(result []byte) error {
	var lists struct{ Interfaces, IPs, Routes []json.RawMessage }
	if err := json.Unmarshal(result, &lists); err != nil {
		return err
	}
	for name, list := range map[string][]json.RawMessage{"interfaces": lists.Interfaces, "ips": lists.IPs, "routes": lists.Routes} {
		if i := slices.IndexFunc(list, func(entry json.RawMessage) bool { return string(entry) == "null" }); i >= 0 {
			return fmt.Errorf("%s[%d] is null", name, i)
		}
	}
	return nil
}
