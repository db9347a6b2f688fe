package protocol

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ropeway-net/ropeway/ipam"
)

func TestAbsentListIsAnErrorAndAnEmptyOneIsNot(t *testing.T) {
	a := []ipam.Attachment{{ContainerID: "a", IfName: "eth0"}}
	const listed = `[{"containerID":"a","ifname":"eth0"}]`
	for name, tt := range map[string]struct {
		conf string
		want []ipam.Attachment
		code uint
	}{
		"specification's key": {conf: `{"cni.dev/valid-attachments":` + listed + `}`, want: a},
		"earlier key":         {conf: `{"cni.dev/attachments":` + listed + `}`, want: a},
		"null":                {conf: `{"cni.dev/valid-attachments":null}`},
		"empty":               {conf: `{"cni.dev/valid-attachments":[]}`},
		"absent":              {conf: `{}`, code: types.ErrInvalidNetworkConfig},
		"no list":             {conf: `{"cni.dev/valid-attachments":"a"}`, code: types.ErrDecodingFailure},
		"second is no list":   {conf: `{"cni.dev/valid-attachments":[],"cni.dev/attachments":1}`, code: types.ErrDecodingFailure},
		"no object":           {conf: `[]`, code: types.ErrDecodingFailure},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ValidAttachments([]byte(tt.conf))
			var code uint
			if err != nil {
				code = ipam.CNIError(err).Code
			}
			if code != tt.code {
				t.Errorf("error %v, want code %d", err, tt.code)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func FuzzValidAttachments(f *testing.F) {
	for _, seed := range []string{
		`{"cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]}`, `{"cni.dev/attachments":null}`,
		`{"cni.dev/valid-attachments":{}}`, `{"cni.dev/valid-attachments":[1]}`, `{}`, `null`, `[`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		valid, err := ValidAttachments(b)
		if err != nil && len(valid) > 0 {
			t.Errorf("%v together with %v", valid, err)
		}
		if err == nil && !strings.Contains(string(b), "attachments") && !strings.Contains(string(b), `\`) {
			t.Errorf("a list was found in %q", b)
		}
	})
}
