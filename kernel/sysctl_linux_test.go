package kernel_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ropeway-net/ropeway/kernel"
)

// TestSysctlsAreReadAndWrittenWhereTheyAreSaidToBe has plain files for sysctls,
// so that nothing of the kernel changes.
func TestSysctlsAreReadAndWrittenWhereTheyAreSaidToBe(t *testing.T) {
	inNode(t, func(string) {
		dir := t.TempDir()
		file := filepath.Join(dir, "net/ipv4/ip_forward")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(file, []byte("7\n"), 0o600); err != nil {
			t.Error(err)
		}
		k, err := kernel.Open(kernel.SysctlsIn(dir))
		if err != nil {
			t.Error(err)
			return
		}
		defer k.Close()
		s, err := k.Snapshot(t.Context())
		if err != nil || s.State.Sysctls["net/ipv4/ip_forward"] != "7" {
			t.Errorf("ip_forward is read as %q, %v", s.State.Sysctls["net/ipv4/ip_forward"], err)
		}
		set := func(key, value string) error {
			return k.Apply(t.Context(), kernel.Plan{Ops: []kernel.Op{kernel.SysctlSet{Key: key, Value: value}}})
		}
		if err := set("net/ipv4/ip_forward", "8"); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(b)) != "8" {
			t.Errorf("the file holds %q, %v", b, err)
		}
		for _, key := range []string{"kernel/hostname", "net/../kernel/hostname", "net", "../net/x"} {
			if err := set(key, "x"); err == nil || !strings.Contains(err.Error(), "only sysctls below net") {
				t.Errorf("%s: error %v", key, err)
			}
		}
	})
}
