package kubernetes

import (
	"encoding/base64"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func quietServer() *log.Logger { return log.New(io.Discard, "", 0) }

func TestKubeconfigThatVanishesTakesNothingAway(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	path := s.kubeconfig()
	b := start(t, path)
	b.until("the list", func() bool { return len(b.last()) == 1 })
	for _, spoil := range []struct {
		name string
		do   func() error
		want string
	}{
		{"vanished", func() error { return os.Remove(path) }, "does not exist"},
		{"garbage", func() error { return os.WriteFile(path, []byte("{"), 0o600) }, "not valid"},
		{"empty", func() error { return os.WriteFile(path, nil, 0o600) }, "current-context"},
	} {
		if err := spoil.do(); err != nil {
			t.Fatal(err)
		}
		b.untilComplaint(path, spoil.want, "stays in use")
	}
	s.put(kubelet(2))
	b.until("a node that joins meanwhile", func() bool { return len(b.last()) == 2 })
	s.writeKubeconfig(path, "secret")
	b.until("all is well again", func() bool { return b.complaint() == "" })
}

func TestKubeconfigThatComesLaterIsUsed(t *testing.T) {
	s := newServer(t)
	s.put(kubelet(1))
	path := filepath.Join(t.TempDir(), "kubeconfig")
	b := start(t, path)
	b.untilComplaint(path, "does not exist")
	s.writeKubeconfig(path, "secret")
	b.until("the list", func() bool { return len(b.last()) == 1 && b.complaint() == "" })
}

func TestChangedKubeconfigIsTakenOver(t *testing.T) {
	first, second := newServer(t), newServer(t)
	first.put(kubelet(1))
	second.put(kubelet(1))
	second.put(kubelet(2))
	path := first.kubeconfig()
	b := start(t, path)
	b.until("the first list", func() bool { return len(b.last()) == 1 })
	second.writeKubeconfig(path, "other")
	b.until("the second list", func() bool { return len(b.last()) == 2 })
}

func TestChangedFileThatKubeconfigNamesIsTakenOver(t *testing.T) {
	s := newServer(t)
	path := s.kubeconfig()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The CA is in a file beside it.
	before, rest, _ := strings.Cut(string(text), "certificate-authority-data: ")
	data, after, _ := strings.Cut(rest, "}")
	if err := os.WriteFile(path, []byte(before+"certificate-authority: ca.crt}"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, path)
	b.untilComplaint("ca.crt", "no such file")
	s.put(kubelet(1))
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "ca.crt"), decode(t, data), 0o600); err != nil {
		t.Fatal(err)
	}
	b.until("the list", func() bool { return len(b.last()) == 1 && b.complaint() == "" })
}

func TestOutsideOfAPodAKubeconfigIsAskedFor(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	b := start(t, "")
	b.untilComplaint("KUBERNETES_SERVICE_HOST", "set kubeconfig")
}

func decode(t *testing.T, data string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
