package lab

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/ropeway-net/ropeway/daemon/topology"
)

// Root is the directory that holds a directory per lab.
const Root = "/run/ropeway-lab"

// Families says which address families something has.
type Families string

// The values of [Options.Pods] and [Options.Underlay].
const (
	IPv4 Families = "ipv4"
	IPv6 Families = "ipv6"
	// Dual is both; of a node's underlay addresses the IPv4 one comes first,
	// so tunnels use it.
	Dual Families = "dual"
	// DualIPv6 is both with IPv6 first; for pods it means the same as Dual.
	DualIPv6 Families = "dual-ipv6"
)

func (f Families) has4() bool { return f != IPv6 }
func (f Families) has6() bool { return f != IPv4 }

// Options shape a lab. The zero Options are a dual-stack lab in mode vxlan
// with n1 and n2 on subnet 1 and n3 on subnet 2.
type Options struct {
	Name     string        `json:"name,omitempty"`     // 1 to 12 of a-z0-9; empty: a unique one
	Dir      string        `json:"dir,omitempty"`      // must not exist; empty: below [Root]
	BinDir   string        `json:"binDir,omitempty"`   // see [FindBinaries]
	Mode     topology.Mode `json:"mode,omitempty"`     // empty: vxlan
	Underlay Families      `json:"underlay,omitempty"` // empty: dual
	Pods     Families      `json:"pods,omitempty"`     // empty: dual
	MTU      int           `json:"mtu,omitempty"`      // bytes, of the underlay; 0: 1500
	// Subnet1 and Subnet2 are the names of the nodes there. When both are
	// empty: n1 and n2, and n3; in direct mode all three on subnet 1.
	Subnet1 []string `json:"subnet1,omitempty"`
	Subnet2 []string `json:"subnet2,omitempty"`
	// ExtraConfig is merged into every node's ropewayd.yaml, by key.
	ExtraConfig map[string]any `json:"extraConfig,omitempty"`
	// Persistent labs outlive the process that made them, daemons included;
	// they end by Close of a later [Open].
	Persistent bool `json:"persistent,omitempty"`
}

// Modes are the five modes in the order in which they are explained.
func Modes() []topology.Mode {
	return []topology.Mode{topology.VXLAN, topology.VXLANCrossSubnet, topology.IPIP, topology.IPIPCrossSubnet, topology.Direct}
}

func (o Options) withDefaults() (Options, error) {
	if o.Name == "" {
		o.Name = uniqueName()
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(Root, o.Name)
	}
	if o.Mode == "" {
		o.Mode = topology.VXLAN
	}
	if o.Underlay == "" {
		o.Underlay = Dual
	}
	if o.Pods == "" {
		o.Pods = Dual
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	if len(o.Subnet1)+len(o.Subnet2) == 0 {
		o.Subnet1, o.Subnet2 = []string{"n1", "n2"}, []string{"n3"}
		if o.Mode == topology.Direct {
			o.Subnet1, o.Subnet2 = []string{"n1", "n2", "n3"}, nil
		}
	}
	bin, err := FindBinaries(o.BinDir)
	if err != nil {
		return Options{}, err
	}
	o.BinDir = bin
	return o, o.validate()
}

func (o Options) validate() error {
	if !regexp.MustCompile(`^[a-z0-9]{1,12}$`).MatchString(o.Name) {
		return fmt.Errorf("lab name %q is not 1 to 12 characters of a-z and 0-9", o.Name)
	}
	if !slices.Contains(Modes(), o.Mode) {
		return fmt.Errorf("mode %q is none of %v", o.Mode, Modes())
	}
	for _, f := range []Families{o.Underlay, o.Pods} {
		if !slices.Contains([]Families{IPv4, IPv6, Dual, DualIPv6}, f) {
			return fmt.Errorf("address families %q are none of ipv4, ipv6, dual, dual-ipv6", f)
		}
	}
	if o.MTU < 576 || o.MTU > 65535 {
		return fmt.Errorf("underlay mtu %d is not between 576 and 65535", o.MTU)
	}
	names := map[string]bool{}
	for _, name := range slices.Concat(o.Subnet1, o.Subnet2) {
		if err := checkName(name); err != nil {
			return err
		}
		if names[name] {
			return fmt.Errorf("two nodes are named %s", name)
		}
		names[name] = true
	}
	return nil
}

// checkName accepts names of nodes and pods, which become parts of namespace
// and link names.
func checkName(name string) error {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,14}$`).MatchString(name) {
		return fmt.Errorf("name %q is not 1 to 15 characters of a-z, 0-9 and -", name)
	}
	if slices.Contains([]string{"router", "world"}, name) {
		return fmt.Errorf("name %q is taken by the lab's own underlay", name)
	}
	return nil
}

func uniqueName() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails, says its documentation
	return hex.EncodeToString(b[:])
}

// binaries are the programs that a lab runs.
func binaries() []string { return []string{"ropeway", "ropeway-ipam", "ropewayd"} }

// FindBinaries returns the directory of the built programs: dir when it is not
// empty, else $ROPEWAY_BIN, else the directory of the running program when it
// has them, else bin in the module that holds the working directory.
func FindBinaries(dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv("ROPEWAY_BIN")
	}
	if dir != "" {
		return absoluteBinaries(dir)
	}
	var candidates []string
	if self, err := os.Executable(); err == nil {
		candidates = append(candidates, filepath.Dir(self))
	}
	if root, err := moduleRoot(); err == nil {
		candidates = append(candidates, filepath.Join(root, "bin"))
	}
	var errs []error
	for _, candidate := range candidates {
		found, err := absoluteBinaries(candidate)
		if err == nil {
			return found, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

func absoluteBinaries(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for _, name := range binaries() {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode()&0o111 == 0 {
			return "", fmt.Errorf("no program %s in %s; run `make build`, or set ROPEWAY_BIN to where the programs are", name, dir)
		}
	}
	return dir, nil
}
