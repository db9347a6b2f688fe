package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// ports are port mappings, written "hostPort:containerPort/protocol" or
// "hostIP hostPort:containerPort/protocol".
func ports(t *testing.T, texts ...string) map[string]any {
	t.Helper()
	list := []any{}
	for _, text := range texts {
		entry := map[string]any{}
		if on, rest, ok := strings.Cut(text, " "); ok {
			entry["hostIP"], text = on, rest
		}
		var host, container int
		var protocol string
		if _, err := fmt.Sscanf(strings.NewReplacer(":", " ", "/", " ").Replace(text), "%d %d %s", &host, &container, &protocol); err != nil {
			t.Fatal(err)
		}
		entry["hostPort"], entry["containerPort"], entry["protocol"] = host, container, protocol
		list = append(list, entry)
	}
	return map[string]any{"portMappings": list}
}

// withAddresses gives the node addresses beside its loopback's.
func (n *testNode) withAddresses() *testNode {
	ip(n.t, n.netns, "link", "add", "uplink", "type", "veth", "peer", "name", "other")
	ip(n.t, n.netns, "address", "add", "192.0.2.1/24", "dev", "uplink")
	ip(n.t, n.netns, "address", "add", "192.0.2.9/24", "dev", "uplink")
	ip(n.t, n.netns, "address", "add", "fd01::1/64", "dev", "uplink", "nodad")
	ip(n.t, n.netns, "link", "set", "uplink", "up")
	ip(n.t, n.netns, "link", "set", "other", "up")
	return n
}

// answer lets a pod answer with name on TCP and UDP port 80.
func answer(t *testing.T, netns, name string) {
	t.Helper()
	in(t, netns, func() {
		listener, err := net.Listen("tcp", ":80")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = listener.Close() })
		packets, err := net.ListenPacket("udp", ":80")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = packets.Close() })
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(name))
				_ = c.Close()
			}
		}()
		go func() {
			b := make([]byte, 16)
			for {
				_, from, err := packets.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = packets.WriteTo([]byte(name), from)
			}
		}()
	})
}

// ask sends from a namespace and returns who answers, or the error.
func ask(t *testing.T, netns, network, to string) (answer string) {
	t.Helper()
	in(t, netns, func() {
		c, err := net.DialTimeout(network, to, time.Second)
		if err != nil {
			answer = err.Error()
			return
		}
		defer func() { _ = c.Close() }()
		answer = exchange(c)
	})
	return answer
}

func exchange(c net.Conn) string {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if c.LocalAddr().Network() == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return err.Error()
		}
	}
	b := make([]byte, 16)
	n, err := c.Read(b)
	if err != nil {
		return err.Error()
	}
	return string(b[:n])
}

// elements are those of maps and of the hairpin sets, as nft lists them.
func (n *testNode) elements() []string {
	n.t.Helper()
	var found []string
	if strings.Contains(command(n.t, n.netns, "nft", "list", "tables"), "inet ropeway") {
		var listed struct {
			Nftables []struct {
				Map *struct {
					Name string
					Elem []any
				}
				Set *struct {
					Name string
					Elem []any
				}
			}
		}
		text := command(n.t, n.netns, "nft", "-j", "list", "table", "inet", "ropeway")
		if err := json.Unmarshal([]byte(text), &listed); err != nil {
			n.t.Fatal(err)
		}
		for _, o := range listed.Nftables {
			if o.Map != nil {
				for _, e := range o.Map.Elem {
					found = append(found, fmt.Sprint(o.Map.Name, " ", e))
				}
			}
			if o.Set != nil && strings.HasPrefix(o.Set.Name, "hairpin") {
				for _, e := range o.Set.Elem {
					found = append(found, fmt.Sprint(o.Set.Name, " ", e))
				}
			}
		}
	}
	return found
}

func (n *testNode) wantNoPorts() {
	n.t.Helper()
	if left := n.elements(); len(left) > 0 {
		n.t.Errorf("left in the table: %q", left)
	}
}

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), attachDeadline)
	t.Cleanup(cancel)
	return ctx
}
