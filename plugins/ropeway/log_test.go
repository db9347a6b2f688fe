package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEachVerbThatChangesSomethingIsLogged(t *testing.T) {
	n := newNode(t)
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf()})
	_, e := n.run(call{verb: "ADD", id: "b", netns: newNetns(t), conf: n.conf("mtu", 1000)})
	if e == nil {
		t.Fatal("ADD succeeded")
	}
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	b, err := os.ReadFile(filepath.Join(n.state.Log(), "ropeway.log"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		var entry struct {
			Time                                       time.Time
			Level, Msg, Verb, Container, IfName, Error string
			Took                                       int64
			Addresses                                  []netip.Addr
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		served := entry.Error == ""
		if entry.Took <= 0 || (entry.Level == "ERROR") != (entry.Error != "") || time.Since(entry.Time).Abs() > time.Hour || entry.IfName != "eth0" || served != (len(entry.Addresses) == 2) {
			t.Errorf("line %s", line)
		}
		got = append(got, entry.Verb+" "+entry.Container+" "+entry.Msg)
	}
	if want := "ADD a done, ADD b failed, DEL a done"; strings.Join(got, ", ") != want {
		t.Errorf("log says %q, want %q", strings.Join(got, ", "), want)
	}
}

func TestLongLogIsSetAside(t *testing.T) {
	n := newNode(t)
	path := filepath.Join(n.state.Log(), "ropeway.log")
	if err := os.MkdirAll(n.state.Log(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, maxLog), 0o600); err != nil {
		t.Fatal(err)
	}
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
	old, err := os.Stat(path + ".1")
	if err != nil || old.Size() != maxLog {
		t.Errorf("the old log: %v, %v", old, err)
	}
	if now, err := os.Stat(path); err != nil || now.Size() == 0 || now.Size() > 1000 {
		t.Errorf("the new log: %v, %v", now, err)
	}
}

func TestLogThatCannotBeWrittenFailsNothing(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(string(n.state), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.state.Log(), nil, 0o600); err != nil { // a file where the directory belongs
		t.Fatal(err)
	}
	n.add(call{id: "a", netns: newNetns(t), conf: n.conf()})
	n.must(call{verb: "DEL", id: "a", conf: n.conf()})
}
