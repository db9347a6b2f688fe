package ipam

import (
	"errors"
	"strings"
	"testing"
)

func TestReservationIsReadAsHostLocalWritesIt(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     Attachment
		ok       bool
	}{
		{"as written today", "abc\r\neth0", Attachment{"abc", "eth0"}, true},
		{"edited by hand", " abc \n eth0 \n", Attachment{"abc", "eth0"}, true},
		{"old, without interface", "abc", Attachment{"abc", ""}, true},
		{"torn after the id", "abc\r\n", Attachment{"abc", ""}, true},
		{"empty", "", Attachment{}, false},
		{"blank", "\r\n", Attachment{}, false},
		{"interface alone", "\r\neth0", Attachment{}, false},
		{"zeros", strings.Repeat("\x00", 80), Attachment{}, false},
		{"path", "../x\r\neth0", Attachment{}, false},
		{"three lines", "abc\r\neth0\r\nx", Attachment{}, false},
		{"endless", strings.Repeat("a", 5000), Attachment{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseReservation([]byte(test.in))
			if got != test.want || ok != test.ok {
				t.Errorf("%+v %v, want %+v %v", got, ok, test.want, test.ok)
			}
		})
	}
}

func TestAttachmentThatCannotBeReadBackIsRefused(t *testing.T) {
	for _, a := range []Attachment{
		{"", "eth0"}, {"abc", ""}, {"a/b", "eth0"}, {"-a", "eth0"}, {"a b", "eth0"},
		{"abc", "eth/0"}, {"abc", "sixteencharacter"}, {"abc", "e\n"}, {"abc", ".."}, {"abc", "e:0"},
		{strings.Repeat("a", 4095), "eth0"},
	} {
		if err := a.validate(); !errors.Is(err, ErrEnvironment) || CNIError(err).Code != 4 {
			t.Errorf("%+v gives %v", a, err)
		}
	}
	if err := (Attachment{"abc", "eth0.7-x_y"}).validate(); err != nil {
		t.Error(err)
	}
}

func TestOnlyCanonicalAddressesNameReservations(t *testing.T) {
	for name, want := range map[string]bool{
		"10.1.0.1": true, "fd00::1": true,
		"lock": false, "last_reserved_ip.0": false, "boot_id": false, "10.1.0.01": false, "10.1.0": false,
		"fd00::0:1": false, "FD00::1": false, "fe80::1%eth0": false, ".tmp-1": false, "": false,
	} {
		if _, got := parseAddressName(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func FuzzParseReservation(f *testing.F) {
	for _, s := range []string{"abc\r\neth0", "abc", "", "\x00\x00", "abc\r\n", "a\n\nb"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := parseReservation(b)
		if !ok {
			if a != (Attachment{}) {
				t.Errorf("torn, yet %+v", a)
			}
			return
		}
		if back, ok := parseReservation(a.content()); !ok || back != a {
			t.Errorf("%q is read as %+v and then as %+v", b, a, back)
		}
	})
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 10.0.0.1\nsearch a b\noptions x\ndomain d\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dns := parseResolvConf(b)
		for _, s := range append(append(dns.Nameservers, dns.Search...), dns.Options...) {
			if s == "" || strings.ContainsAny(s, " \n\t") {
				t.Errorf("field %q", s)
			}
		}
	})
}
