package crash

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// callTime is how long a call of the plugin may take, longer than its own
// deadline. A file that a crash left and that stops later calls shows by this.
const callTime = 100 * time.Second

const networkName = "crash"

// Node is a namespace and a directory in which a plugin attaches pods without
// a daemon.
type Node struct {
	Netns    *Namespace
	Dir      string // holds networks/ and ropeway/
	Plugin   string // path of the binary
	PodCIDRs []string
}

// Attachment is a container's interface.
type Attachment struct {
	ID     string
	Netns  string
	ifName string // empty: eth0
	// HostPort leads to the pod's port 80 by TCP and UDP; 0 is none.
	HostPort int
}

// conf is the network configuration of an attachment, with more keys by pairs.
func (n *Node) conf(a Attachment, more map[string]any) []byte {
	c := map[string]any{
		"cniVersion": "1.1.0", "name": networkName, "type": "ropeway",
		"stateDir": filepath.Join(n.Dir, "ropeway"), "podCIDRs": n.PodCIDRs,
		"ipam": map[string]any{"type": "ropeway-ipam", "dataDir": filepath.Join(n.Dir, "networks")},
	}
	if a.HostPort != 0 {
		var mappings []any
		for _, protocol := range []string{"tcp", "udp"} {
			mappings = append(mappings, map[string]any{"hostPort": a.HostPort, "containerPort": 80, "protocol": protocol})
		}
		c["runtimeConfig"] = map[string]any{"portMappings": mappings}
	}
	for key, value := range more {
		c[key] = value
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // only what is above goes in
	}
	return b
}

func (n *Node) env(verb string, a Attachment) []string {
	ifName := cmp.Or(a.ifName, "eth0")
	return []string{
		"PATH=" + os.Getenv("PATH"), "CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + a.ID, "CNI_NETNS=" + a.Netns,
		"CNI_IFNAME=" + ifName, "CNI_PATH=" + filepath.Dir(n.Plugin),
	}
}

// call runs the plugin. Its error is a [types.Error] if the plugin says so.
func (n *Node) call(ctx context.Context, verb string, a Attachment, conf []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, n.Plugin)
	cmd.Env = n.env(verb, a)
	// One that hangs shows where.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = callTime / 10
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(conf), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := n.Netns.Do(cmd.Run)
	if err == nil {
		return stdout.Bytes(), nil
	}
	var said types.Error
	if jsonErr := json.Unmarshal(stdout.Bytes(), &said); jsonErr != nil {
		return nil, fmt.Errorf("%s of %s: %w: %s%s", verb, a.ID, err, stdout.String(), stderr.String())
	}
	return nil, fmt.Errorf("%s of %s: code %d: %w", verb, a.ID, said.Code, &said)
}

// Add attaches, and returns the result and the addresses.
func (n *Node) Add(ctx context.Context, a Attachment) (result []byte, addresses []string, err error) {
	result, err = n.call(ctx, "ADD", a, n.conf(a, nil))
	if err != nil {
		return nil, nil, err
	}
	var r types100.Result
	if err := json.Unmarshal(result, &r); err != nil {
		return nil, nil, fmt.Errorf("result of ADD of %s: %w: %s", a.ID, err, result)
	}
	for _, ip := range r.IPs {
		addresses = append(addresses, ip.Address.IP.String())
	}
	return result, addresses, nil
}

// Del detaches. Without its namespace if that is empty.
func (n *Node) Del(ctx context.Context, a Attachment) error {
	_, err := n.call(ctx, "DEL", a, n.conf(a, nil))
	return err
}

// Check runs CHECK with the result of ADD.
func (n *Node) Check(ctx context.Context, a Attachment, result []byte) error {
	_, err := n.call(ctx, "CHECK", a, n.conf(a, map[string]any{"prevResult": json.RawMessage(result)}))
	return err
}

// Status runs STATUS.
func (n *Node) Status(ctx context.Context) error {
	_, err := n.call(ctx, "STATUS", Attachment{}, n.conf(Attachment{}, nil))
	return err
}

// GC removes all attachments but those that are valid.
func (n *Node) GC(ctx context.Context, valid ...Attachment) error {
	list := []any{}
	for _, a := range valid {
		list = append(list, map[string]any{"containerID": a.ID, "ifname": "eth0"})
	}
	_, err := n.call(ctx, "GC", Attachment{}, n.conf(Attachment{}, map[string]any{"cni.dev/valid-attachments": list}))
	return err
}

// Traces lists what attachments hold: files, links, routes, permanent
// neighbours, elements of nftables maps and sets.
func (n *Node) Traces(ctx context.Context) ([]string, error) {
	files, err := n.Files()
	if err != nil {
		return nil, err
	}
	objects, err := n.Netns.traces()
	if err != nil {
		return nil, err
	}
	elements, err := n.elements(ctx)
	all := slices.Concat(files, objects, elements)
	slices.Sort(all)
	return all, err
}

// Files lists the files of attachments, and whatever else a crash left: all
// but the allocator's own, the notes of addresses freed and the log.
func (n *Node) Files() ([]string, error) {
	var found []string
	err := filepath.WalkDir(n.Dir, func(path string, e fs.DirEntry, err error) error {
		name := filepath.Base(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case e.IsDir() && (name == "log" || name == "lost+found"):
			return fs.SkipDir
		case e.IsDir(), name == "lock", name == "boot_id", name == "freed", strings.HasPrefix(name, "last_reserved_ip."):
			return nil
		}
		found = append(found, "file "+strings.TrimPrefix(path, n.Dir+"/"))
		return nil
	})
	return found, err
}

// elements are those of the maps of host ports and of the hairpin sets.
func (n *Node) elements(ctx context.Context) ([]string, error) {
	tables, err := n.Netns.Exec(ctx, "nft", "-j", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	type named struct {
		Name string
		Elem []any
	}
	var listed struct{ Nftables []struct{ Map, Set *named } }
	if err := json.Unmarshal([]byte(tables), &listed); err != nil {
		return nil, fmt.Errorf("list nftables: %w", err)
	}
	var found []string
	for _, o := range listed.Nftables {
		for _, s := range []*named{o.Map, o.Set} {
			if s != nil && (s == o.Map || strings.HasPrefix(s.Name, "hairpin")) {
				for _, e := range s.Elem {
					found = append(found, fmt.Sprintf("element %s %v", s.Name, e))
				}
			}
		}
	}
	return found, nil
}
