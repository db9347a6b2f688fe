package stage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Result is what ADD prints, in the form of specification 0.3.0 and later. It
// is read without the reference library, which would mend what is wrong.
type Result struct {
	CNIVersion string        `json:"cniVersion"`
	Interfaces []ResultLink  `json:"interfaces"`
	IPs        []ResultIP    `json:"ips"`
	Routes     []ResultRoute `json:"routes"`
	DNS        struct {
		Nameservers []string `json:"nameservers"`
		Domain      string   `json:"domain"`
		Search      []string `json:"search"`
		Options     []string `json:"options"`
	} `json:"dns"`
}

// ResultLink is one of a result's interfaces.
type ResultLink struct {
	Name    string `json:"name"`
	MAC     string `json:"mac"`
	MTU     *int   `json:"mtu"`
	Sandbox string `json:"sandbox"`
}

// ResultIP is one of a result's addresses.
type ResultIP struct {
	Version   string `json:"version"`
	Address   string `json:"address"`
	Gateway   string `json:"gateway"`
	Interface *int   `json:"interface"`
}

// ResultRoute is one of a result's routes.
type ResultRoute struct {
	Dst string `json:"dst"`
	GW  string `json:"gw"`
}

// Documents splits output into the JSON documents that it consists of.
func Documents(text string) ([]json.RawMessage, error) {
	var all []json.RawMessage
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	for {
		var one json.RawMessage
		err := dec.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
}

// ParseResult reads the result that a reply holds.
func ParseResult(r Reply) (Result, error) {
	var result Result
	documents, err := Documents(r.Stdout)
	if err != nil {
		return result, Breached(r, "standard output is not JSON: %v", err)
	}
	if len(documents) != 1 {
		return result, Breached(r, "standard output has %d JSON documents instead of one", len(documents))
	}
	if err := json.Unmarshal(documents[0], &result); err != nil {
		return result, Breached(r, "the result has not the form that the specification gives it: %v", err)
	}
	return result, nil
}

// ResultOf reads the result of an attachment's ADD.
func ResultOf(a *Attachment) (Result, error) {
	return ParseResult(Reply{Verb: "ADD", Stdout: string(a.Result)})
}

// Addresses are the addresses of the result.
func (r Result) Addresses() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, ip := range r.IPs {
		p, err := netip.ParsePrefix(ip.Address)
		if err != nil {
			return nil, fmt.Errorf("ips: address %q is not in CIDR notation", ip.Address)
		}
		all = append(all, p)
	}
	return all, nil
}

// Document is a result as a map, for cases that change it.
func Document(result []byte) (map[string]any, error) {
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(result))
	dec.UseNumber()
	err := dec.Decode(&doc)
	return doc, err
}

// ErrorDocument is an error as a plugin prints it.
type ErrorDocument struct {
	CNIVersion *string `json:"cniVersion"`
	Code       *int    `json:"code"`
	Msg        *string `json:"msg"`
	Details    *string `json:"details"`
}

// ErrorOf reads the error that a failed call printed; not printing one as it
// should is a breach.
func ErrorOf(r Reply) (ErrorDocument, error) {
	var e ErrorDocument
	if r.OK() {
		return e, Breached(r, "%s succeeded", r.Verb)
	}
	documents, err := Documents(r.Stdout)
	if err != nil || len(documents) != 1 {
		return e, Breached(r, "standard output of the failed %s is not one JSON document: %s", r.Verb, r.Brief())
	}
	if err := json.Unmarshal(documents[0], &e); err != nil {
		return e, Breached(r, "the error has not the form that the specification gives it: %v", err)
	}
	if e.Code == nil || e.Msg == nil || *e.Msg == "" {
		return e, Breached(r, "the error has no code or no msg: %s", r.Brief())
	}
	return e, nil
}
