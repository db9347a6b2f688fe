package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// PodLink is the name of a pod's interface.
const PodLink = "eth0"

// Pod is a namespace attached to a node's network.
type Pod struct {
	*Namespace
	Name        string
	Node        *Node
	ContainerID string
	Ports       []PortMapping    // asked for by ADD
	Bandwidth   Bandwidth        // asked for by ADD
	Addresses   []netip.Addr     // given by ADD, in the order of the result
	Result      *types100.Result // of ADD; nil for a pod of an earlier program
}

// PortMapping asks for a port of the node that leads to one of the pod, in the
// form of the capability portMappings.
type PortMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// Bandwidth asks for limits in the form of the capability bandwidth: bits per
// second and bits, as the pod sees the directions. Zero is no limit.
type Bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// AttachPod makes a namespace and attaches it to the node by ADD of the network
// configuration in the node's net.d. Pod names are unique in a lab. After an
// error nothing is left but what ADD itself left.
func (n *Node) AttachPod(ctx context.Context, name string, ports ...PortMapping) (*Pod, error) {
	return n.attachPod(ctx, name, func(p *Pod) { p.Ports = ports })
}

// AttachLimitedPod is AttachPod with limits instead of ports.
func (n *Node) AttachLimitedPod(ctx context.Context, name string, limits Bandwidth) (*Pod, error) {
	return n.attachPod(ctx, name, func(p *Pod) { p.Bandwidth = limits })
}

func (n *Node) attachPod(ctx context.Context, name string, ask func(*Pod)) (*Pod, error) {
	p, err := n.createPod(name)
	if err != nil {
		return nil, err
	}
	ask(p)
	err = p.Add(ctx)
	if err == nil {
		err = n.lab.save()
	}
	if err != nil {
		// A runtime follows a failed ADD by DEL.
		return nil, errors.Join(err, p.Detach(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// CreatePod makes a pod's namespace without attaching it.
func (n *Node) CreatePod(name string) (*Pod, error) { return n.createPod(name) }

func (n *Node) createPod(name string) (*Pod, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	l := n.lab
	l.mu.Lock()
	l.created++
	id := fmt.Sprintf("%s-%s-%d", l.options.Name, name, l.created)
	l.mu.Unlock()
	ns, err := createNamespace(l.namespaceName(name))
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", name, err)
	}
	p := &Pod{Namespace: ns, Name: name, Node: n, ContainerID: id}
	l.mu.Lock()
	l.pods[name] = p
	l.mu.Unlock()
	return p, nil
}

// Add attaches the pod: one CNI ADD.
func (p *Pod) Add(ctx context.Context) error {
	list, err := p.Node.networkList()
	if err != nil {
		return err
	}
	var result *types100.Result
	err = p.Node.Do(func() error {
		r, addErr := p.Node.cni().AddNetworkList(ctx, list, p.runtimeConf())
		if addErr != nil {
			return addErr
		}
		result, addErr = types100.NewResultFromResult(r)
		return addErr
	})
	if err != nil {
		return fmt.Errorf("attach pod %s to %s: %w", p.Name, p.Node.Name, err)
	}
	p.Result, p.Addresses = result, nil
	for _, ip := range result.IPs {
		if addr, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			p.Addresses = append(p.Addresses, addr.Unmap())
		}
	}
	return nil
}

// Check runs CNI CHECK.
func (p *Pod) Check(ctx context.Context) error {
	list, err := p.Node.networkList()
	if err != nil {
		return err
	}
	err = p.Node.Do(func() error { return p.Node.cni().CheckNetworkList(ctx, list, p.runtimeConf()) })
	if err != nil {
		return fmt.Errorf("check pod %s on %s: %w", p.Name, p.Node.Name, err)
	}
	return nil
}

// Del detaches the pod: one CNI DEL. The namespace stays.
func (p *Pod) Del(ctx context.Context) error {
	list, err := p.Node.networkList()
	if err != nil {
		return err
	}
	err = p.Node.Do(func() error { return p.Node.cni().DelNetworkList(ctx, list, p.runtimeConf()) })
	if err != nil {
		return fmt.Errorf("detach pod %s from %s: %w", p.Name, p.Node.Name, err)
	}
	return nil
}

// Detach is Del, and then the namespace goes, also after an error.
func (p *Pod) Detach(ctx context.Context) error {
	return errors.Join(p.Del(ctx), p.abandon(), p.Node.lab.save())
}

// abandon removes the namespace and forgets the pod, as when a machine burns.
func (p *Pod) abandon() error {
	l := p.Node.lab
	l.mu.Lock()
	if l.pods[p.Name] == p {
		delete(l.pods, p.Name)
	}
	l.mu.Unlock()
	return p.Delete()
}

// Address is the pod's address of a family, [IPv4] or [IPv6]; zero when it has
// none.
func (p *Pod) Address(family Families) netip.Addr {
	i := slices.IndexFunc(p.Addresses, func(a netip.Addr) bool { return FamilyOf(a) == family })
	if i < 0 {
		return netip.Addr{}
	}
	return p.Addresses[i]
}

func (p *Pod) runtimeConf() *libcni.RuntimeConf {
	conf := &libcni.RuntimeConf{
		ContainerID: p.ContainerID,
		NetNS:       p.Path(),
		IfName:      PodLink,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", "lab"},
			{"K8S_POD_NAME", p.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", p.ContainerID},
		},
	}
	conf.CapabilityArgs = map[string]any{}
	if len(p.Ports) > 0 {
		conf.CapabilityArgs["portMappings"] = p.Ports
	}
	if p.Bandwidth != (Bandwidth{}) {
		conf.CapabilityArgs["bandwidth"] = p.Bandwidth
	}
	return conf
}

// CheckStatus runs CNI STATUS on the node.
func (n *Node) CheckStatus(ctx context.Context) error {
	list, err := n.networkList()
	if err != nil {
		return err
	}
	return n.Do(func() error { return n.cni().GetStatusNetworkList(ctx, list) })
}

// GC runs CNI GC on the node with the given pods as the valid ones.
func (n *Node) GC(ctx context.Context, valid ...*Pod) error {
	list, err := n.networkList()
	if err != nil {
		return err
	}
	args := &libcni.GCArgs{}
	for _, p := range valid {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: p.ContainerID, IfName: PodLink})
	}
	return n.Do(func() error { return n.cni().GCNetworkList(ctx, list, args) })
}

func (n *Node) cni() *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir([]string{n.lab.options.BinDir}, n.cniCache(), nil)
}

// networkList is the first configuration in the node's net.d, which is the one
// that a runtime takes.
func (n *Node) networkList() (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(n.NetDir(), []string{".conflist"})
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("node %s: no CNI configuration in %s; has ropewayd been ready? see %s", n.Name, n.NetDir(), filepath.Base(n.LogFile()))
	}
	slices.Sort(files)
	list, err := libcni.NetworkConfFromFile(files[0])
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name, err)
	}
	return list, nil
}
