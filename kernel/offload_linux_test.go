package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestChecksumOffloadIsSwitchedReadAndRepaired(t *testing.T) {
	s := newSpace(t)
	desired := sampleState()
	link := desired.Links[VXLANLink]
	for _, want := range []Offload{OffloadOff, OffloadOn, OffloadOff} {
		link.TxChecksum = want
		desired.Links[VXLANLink] = link
		s.reach(desired)
		if have := s.state().Links[VXLANLink].TxChecksum; have != want {
			t.Errorf("offload is %q, want %q", have, want)
		}
	}
	if features := s.ethtool(); !strings.Contains(features, "tx-checksum-ip-generic: off") {
		t.Errorf("ethtool says:\n%s", features)
	}
	// A device that is made with it.
	s.sh("ip link del ropeway-vxlan")
	s.reach(desired)
	if have := s.state().Links[VXLANLink].TxChecksum; have != OffloadOff {
		t.Errorf("offload of a new device is %q", have)
	}
	// Nobody's wish leaves it as it is.
	link.TxChecksum = ""
	desired.Links[VXLANLink] = link
	if plan := Diff(s.state(), desired); !plan.Empty() {
		t.Errorf("plan:\n%s", plan)
	}
}

func (s space) ethtool() string {
	s.t.Helper()
	needsProgram(s.t.(*testing.T), "ethtool")
	return s.sh("ethtool -k ropeway-vxlan")
}

func TestPrintedPlanSwitchesChecksumOffload(t *testing.T) {
	l := vxlanLink("192.0.2.1")
	l.TxChecksum = OffloadOff
	for _, tt := range []struct {
		op   Op
		want string
	}{
		{LinkSet{Name: VXLANLink, TxChecksum: OffloadOff}, "ethtool -K ropeway-vxlan tx-checksum-ip-generic off"},
		{LinkSet{Name: VXLANLink, TxChecksum: OffloadOn, MTU: 1400}, "ethtool -K ropeway-vxlan tx-checksum-ip-generic on\nip link set dev ropeway-vxlan mtu 1400"},
	} {
		if got := tt.op.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	s := newSpace(t)
	needsProgram(t, "ethtool")
	s.sh(LinkAdd{l}.String())
	if have := s.state().Links[VXLANLink].TxChecksum; have != OffloadOff {
		t.Errorf("the commands leave offload %q", have)
	}
}

func TestDriversAreThoseOfTheHardwareBelow(t *testing.T) {
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	snapshot, err := k.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range snapshot.Interfaces {
		driver, missing := filepath.EvalSymlinks("/sys/class/net/" + i.Name + "/device/driver")
		if os.IsNotExist(missing) || i.Kind != "" {
			continue
		}
		if want := filepath.Base(driver); i.Drivers != want {
			t.Errorf("%s has driver %q, want %q", i.Name, i.Drivers, want)
		}
	}

	s := newSpace(t)
	r := &reading{
		interfaces: map[int]*Interface{1: {Name: "bond0", Kind: "bond"}, 2: {Name: "bond0.7", Kind: "vlan"}, 3: {Name: "loop", Kind: "vlan"}},
		below:      map[int][]int{2: {1}, 1: {9}, 3: {3}},
	}
	err = s.kernel.(*conn).withEthtool(func(e ethtool) error {
		for index := range r.interfaces {
			if found := r.drivers(e, index, 0); len(found) != 0 {
				t.Errorf("drivers %v of interface %d, which has no hardware", found, index)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
