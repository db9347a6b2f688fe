package kernel

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// nftSpace is a network namespace of its own that holds nothing.
type nftSpace struct {
	t  testing.TB
	ns netns.NsHandle
}

func newNftSpace(t testing.TB) nftSpace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := netns.Set(home); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return nftSpace{t, ns}
}

// run executes a program in the namespace.
func (s nftSpace) run(stdin string, args ...string) string {
	s.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		s.t.Fatal(err)
	}
	defer home.Close()
	if err = netns.Set(s.ns); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if back := netns.Set(home); back != nil {
		s.t.Fatal(back)
	}
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", args, err, out)
	}
	return string(out)
}

// nft runs one nft command in the namespace.
func (s nftSpace) nft(command string) string {
	s.t.Helper()
	return s.run(command+"\n", "nft", "-f", "-")
}

func (s nftSpace) snapshot() *Table {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	t, err := snapshotTable(ctx, s.ns)
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

func (s nftSpace) apply(op Op) {
	s.t.Helper()
	if err := s.try(op); err != nil {
		s.t.Fatalf("%v\n%s", err, op)
	}
}

func (s nftSpace) try(op Op) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return applyTable(ctx, s.ns, op.(TableChange))
}

// reach makes the namespace hold desired, and checks that it does.
func (s nftSpace) reach(desired *Table) {
	s.t.Helper()
	if op := diffTable(s.snapshot(), desired); op != nil {
		s.apply(op)
	}
	s.holds(desired)
}

func (s nftSpace) holds(desired *Table) {
	s.t.Helper()
	actual := s.snapshot()
	if d := cmp.Diff(desired.String(), actual.String()); d != "" {
		s.t.Fatalf("table (-want +got):\n%s", d)
	}
	if op := diffTable(actual, desired); op != nil {
		s.t.Fatalf("a second plan is not empty:\n%s", op)
	}
}

// rawRules lists the rules as the kernel sends them, without handles.
func (s nftSpace) rawRules() [][]byte {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := openTableConn(ctx, s.ns, sendBuffer)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.close()
	messages, err := c.request(unix.NFT_MSG_GETRULE, netlink.Dump, nameAttribute(unix.NFTA_RULE_TABLE, TableName))
	if err != nil {
		s.t.Fatal(err)
	}
	var rules [][]byte
	for _, m := range messages {
		var rule []byte
		if err := decodeAttributes(m.Data, func(ad *netlink.AttributeDecoder) error {
			switch ad.Type() {
			case unix.NFTA_RULE_EXPRESSIONS, unix.NFTA_RULE_USERDATA, unix.NFTA_RULE_CHAIN:
				rule = append(rule, ad.Bytes()...)
			}
			return nil
		}); err != nil {
			s.t.Fatal(err)
		}
		rules = append(rules, rule)
	}
	return rules
}
