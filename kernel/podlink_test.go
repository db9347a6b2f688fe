package kernel_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/ropeway-net/ropeway/kernel"
)

func TestGatewayMACIsLocallyAdministeredUnicast(t *testing.T) {
	mac := kernel.GatewayMAC()
	if mac[0]&3 != 2 {
		t.Errorf("%s is not a locally administered unicast address", mac)
	}
	if parsed, err := kernel.ParseMAC(mac.String()); err != nil || parsed != mac {
		t.Errorf("%s is read as %s, %v", mac, parsed, err)
	}
}

func TestGatewaysAreLinkLocalAndOfTheAddressesFamily(t *testing.T) {
	for _, s := range []string{"10.1.0.2", "fd01::2"} {
		a := netip.MustParseAddr(s)
		gw := kernel.GatewayFor(a)
		if gw.Is4() != a.Is4() || !gw.IsLinkLocalUnicast() {
			t.Errorf("gateway of %s is %s", a, gw)
		}
	}
}

func TestDefaultRoutesFollowTheFamilies(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd01::2")
	r4, r6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	for _, tt := range []struct {
		addresses []netip.Addr
		want      []netip.Prefix
	}{
		{nil, nil},
		{[]netip.Addr{v4}, []netip.Prefix{r4}},
		{[]netip.Addr{v6, v6.Next()}, []netip.Prefix{r6}},
		{[]netip.Addr{v6, v4}, []netip.Prefix{r4, r6}},
	} {
		if got := kernel.DefaultRoutes(tt.addresses); !slices.Equal(got, tt.want) {
			t.Errorf("default routes of %v are %v, want %v", tt.addresses, got, tt.want)
		}
	}
}
