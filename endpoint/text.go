package endpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ropeway-net/ropeway/bandwidth"
	"github.com/ropeway-net/ropeway/jsonobject"
)

// text is the record as its file holds it, which encoding/json, of whichever version
// of Ropeway, reads alike; the tags of Record hold the two together in a test. What
// few pods have is left to encoding/json.
func (r Record) text() ([]byte, error) {
	mac, err := r.MAC.MarshalText()
	errs := []error{err}
	b := jsonobject.Write(func(w *jsonobject.Writer) {
		w.String("bootID", r.BootID)
		w.String("containerID", r.ContainerID)
		w.String("ifName", r.IfName)
		w.String("network", r.Network)
		w.String("netns", r.Netns)
		w.Object("pod", r.Pod.write)
		w.String("hostLink", r.HostLink)
		w.String("mac", string(mac))
		w.Int("mtu", int64(r.MTU))
		jsonobject.Strings(w, "addresses", r.Addresses, netip.Addr.String)
		if len(r.Sources) > 0 {
			jsonobject.Strings(w, "sources", r.Sources, netip.Addr.String)
		}
		rarely := func(name string, present bool, value any) {
			if !present {
				return
			}
			b, err := json.Marshal(value)
			errs = append(errs, err)
			w.Raw(name, b)
		}
		rarely("hostPorts", len(r.HostPorts) > 0, r.HostPorts)
		rarely("dns", r.DNS != nil, r.DNS)
		rarely("aliases", len(r.Aliases) > 0, r.Aliases)
		rarely("bandwidth", r.Bandwidth != (bandwidth.Limits{}), r.Bandwidth)
		w.Object("ipam", r.IPAM.write)
		w.String("created", r.Created.Format(time.RFC3339Nano))
	})
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("encode endpoint record: %w", err)
	}
	return append(b, '\n'), nil
}

func (p Pod) write(w *jsonobject.Writer) {
	w.NonEmpty("namespace", p.Namespace)
	w.NonEmpty("name", p.Name)
	w.NonEmpty("uid", p.UID)
	w.NonEmpty("infraContainerID", p.InfraContainerID)
}

func (i IPAM) write(w *jsonobject.Writer) {
	w.String("type", i.Type)
	w.NonEmpty("dataDir", i.DataDir)
	if len(i.Config) > 0 {
		w.Raw("config", i.Config)
	}
}

// parse reads what text writes.
func (r *Record) parse(b []byte) error {
	var mac, created string
	var addresses, sources []string
	var pod, hostPorts, dns, limits, ipam json.RawMessage
	err := jsonobject.Decode(b, []jsonobject.Field{
		{Name: "bootID", Into: &r.BootID}, {Name: "containerID", Into: &r.ContainerID}, {Name: "ifName", Into: &r.IfName},
		{Name: "network", Into: &r.Network}, {Name: "netns", Into: &r.Netns}, {Name: "pod", Into: &pod},
		{Name: "hostLink", Into: &r.HostLink}, {Name: "mac", Into: &mac}, {Name: "mtu", Into: &r.MTU},
		{Name: "addresses", Into: &addresses}, {Name: "sources", Into: &sources}, {Name: "hostPorts", Into: &hostPorts},
		{Name: "dns", Into: &dns}, {Name: "aliases", Into: &r.Aliases}, {Name: "bandwidth", Into: &limits},
		{Name: "ipam", Into: &ipam}, {Name: "created", Into: &created},
	}...)
	if err != nil {
		return err
	}
	errs := []error{
		r.Pod.parse(pod), r.IPAM.parse(ipam), r.MAC.UnmarshalText([]byte(mac)),
		parseAddrs(addresses, &r.Addresses), parseAddrs(sources, &r.Sources),
		whole(hostPorts, &r.HostPorts), whole(dns, &r.DNS), whole(limits, &r.Bandwidth),
	}
	if created != "" {
		errs = append(errs, r.Created.UnmarshalText([]byte(created)))
	}
	return errors.Join(errs...)
}

func parseAddrs(texts []string, into *[]netip.Addr) error {
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return err
		}
		*into = append(*into, a)
	}
	return nil
}

// whole reads what encoding/json wrote, if it is there.
func whole(b json.RawMessage, into any) error {
	if len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, into)
}

func (p *Pod) parse(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return jsonobject.Decode(b, []jsonobject.Field{
		{Name: "namespace", Into: &p.Namespace}, {Name: "name", Into: &p.Name},
		{Name: "uid", Into: &p.UID}, {Name: "infraContainerID", Into: &p.InfraContainerID},
	}...)
}

func (i *IPAM) parse(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return jsonobject.Decode(b, []jsonobject.Field{
		{Name: "type", Into: &i.Type}, {Name: "dataDir", Into: &i.DataDir}, {Name: "config", Into: &i.Config},
	}...)
}
