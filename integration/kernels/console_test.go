package kernels

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConsolePassesOnOnlyWhatTheCommandPrints(t *testing.T) {
	tests := []struct {
		name   string
		in     string
		out    string
		code   int
		booted bool
		ended  bool
	}{
		{name: "firmware and kernel are left out", in: "SeaBIOS\r\n[0.1] hello\r\nM boot\r\none\r\ntwo\r\nM exit 3\r\nreboot: Power down\r\n", out: "one\ntwo\n", code: 3, booted: true, ended: true},
		{name: "a last line without an end is kept", in: "M boot\r\noneM exit 0\r\n", out: "one", booted: true, ended: true},
		{name: "a torn mark is a missing one", in: "M boot\r\nM exi", booted: true},
		{name: "a mark without a number is a missing one", in: "M boot\r\nM exit \r\n", booted: true},
		{name: "a panic at boot", in: "Kernel panic - not syncing\r\n"},
		{name: "the first exit code counts", in: "M boot\nM exit 1\nM exit 0\n", code: 1, booted: true, ended: true},
	}
	for _, test := range tests {
		for _, chunk := range []int{1, 3, 1000} {
			t.Run(test.name, func(t *testing.T) {
				var out bytes.Buffer
				c := newConsole("M", &out)
				for in := []byte(test.in); len(in) > 0; {
					n, _ := c.Write(in[:min(chunk, len(in))])
					in = in[n:]
				}
				code, ended := c.exit()
				if code != test.code || ended != test.ended || c.isBooted != test.booted {
					t.Errorf("code %d, booted %t, ended %t, want %d, %t, %t", code, c.isBooted, ended, test.code, test.booted, test.ended)
				}
				if diff := cmp.Diff(test.out, out.String()); diff != "" {
					t.Errorf("output (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestPathsLiveBelowUsr(t *testing.T) {
	for in, want := range map[string]string{
		"/bin/ls":            "/usr/bin/ls",
		"lib64/ld-linux.so":  "/usr/lib64/ld-linux.so",
		"/usr/sbin/nft":      "/usr/sbin/nft",
		"/binary":            "/binary",
		"/test/../sbin/init": "/usr/sbin/init",
	} {
		if got := merged(in); got != want {
			t.Errorf("merged(%q) = %q, want %q", in, got, want)
		}
	}
}
