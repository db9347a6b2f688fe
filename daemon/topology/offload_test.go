package topology

import (
	"strings"
	"testing"

	"github.com/ropeway-net/ropeway/kernel"
)

func TestChecksumOffloadIsOffWhereTheCardGetsItWrong(t *testing.T) {
	for _, tt := range []struct {
		mode    Mode
		setting ChecksumOffload
		drivers string
		want    kernel.Offload
		told    bool
	}{
		{VXLAN, OffloadAuto, "vmxnet3", kernel.OffloadOff, true},
		{VXLAN, "", "ixgbe,vmxnet3", kernel.OffloadOff, true},
		{VXLAN, OffloadAuto, "virtio_net", "", false},
		{VXLAN, OffloadAuto, "", "", false},
		{VXLAN, OffloadOn, "vmxnet3", kernel.OffloadOn, false},
		{VXLAN, OffloadOff, "virtio_net", kernel.OffloadOff, false},
		{IPIP, OffloadAuto, "vmxnet3", "", false},
		{IPIP, OffloadOff, "vmxnet3", "", false},
		{Direct, OffloadAuto, "vmxnet3", "", false},
	} {
		in := fixture(tt.mode, only4, dual)
		in.Config.ChecksumOffload = tt.setting
		in.Interfaces[1].Drivers = tt.drivers
		r, err := Compute(in)
		if err != nil {
			t.Fatal(err)
		}
		for name, l := range r.State.Links {
			if l.TxChecksum != tt.want {
				t.Errorf("%+v: offload of %s is %q", tt, name, l.TxChecksum)
			}
		}
		told := len(r.Obstacles) == 1 && r.Obstacles[0].Overcome && strings.Contains(r.Obstacles[0].Message, "driver vmxnet3 of eth0")
		if told != tt.told || len(r.Problems) != 0 && tt.mode != Direct {
			t.Errorf("%+v: obstacles %+v, problems %v", tt, r.Obstacles, r.Problems)
		}
	}
}
