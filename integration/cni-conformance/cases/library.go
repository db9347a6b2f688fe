package cases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/ropeway-net/ropeway/integration/cni-conformance/stage"
)

// Through the library that containerd and CRI-O use, with the whole list.
func libraryCases() []Case {
	return []Case{
		{Name: "libcni-lifecycle", Level: Must, What: "the list is validated, added, checked and deleted twice through libcni", Run: libraryLifecycle},
		{Name: "libcni-status", Level: Must, What: "libcni finds the network ready", Since: since11, Run: libraryStatus},
		{Name: "libcni-gc", Level: Should, What: "GC through libcni, for a container whose namespace is gone, leaves nothing", Since: since11, Run: libraryGC},
	}
}

// recorder executes plugins for libcni, and notes them for the script.
type recorder struct {
	version.PluginDecoder
	stage *stage.Stage
	last  stage.Reply
}

func (e *recorder) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	e.last = e.stage.Raw(ctx, path, stdin, environ)
	if e.last.OK() {
		return []byte(e.last.Stdout), nil
	}
	var own types.Error
	if json.Unmarshal([]byte(e.last.Stdout), &own) == nil && own.Msg != "" {
		return nil, &own
	}
	return nil, errors.New(e.last.Brief())
}

func (e *recorder) FindInPath(plugin string, paths []string) (string, error) {
	return invoke.FindInPath(plugin, paths)
}

type library struct {
	config *libcni.CNIConfig
	list   *libcni.NetworkConfigList
	exec   *recorder
}

func newLibrary(s *stage.Stage) (library, error) {
	raw, err := json.Marshal(map[string]any{"cniVersion": s.Version, "name": s.Subject.Network, "plugins": s.Subject.Plugins})
	if err != nil {
		return library{}, err
	}
	list, err := libcni.ConfListFromBytes(raw)
	if err != nil {
		return library{}, fmt.Errorf("libcni refuses the configuration: %w", err)
	}
	e := &recorder{stage: s}
	return library{config: libcni.NewCNIConfigWithCacheDir(s.Subject.Path, stage.Own+"/cache", e), list: list, exec: e}, nil
}

// judge turns an error of libcni into a breach.
func (l library) judge(doing string, err error) error {
	if err != nil {
		return stage.Breached(l.exec.last, "libcni, %s: %v", doing, err)
	}
	return nil
}

func runtimeConf(a *stage.Attachment) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: a.ID, NetNS: a.Netns, IfName: a.IfName, Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAME", "web-0"}},
		CapabilityArgs: map[string]any{"portMappings": []map[string]any{{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp"}}},
	}
}

func libraryLifecycle(ctx context.Context, s *stage.Stage) error {
	l, err := newLibrary(s)
	if err != nil {
		return err
	}
	a, err := s.Bare(ctx, "a")
	if err != nil {
		return err
	}
	rt := runtimeConf(a)
	return first(
		func() error {
			_, err := l.config.ValidateNetworkList(ctx, l.list)
			return l.judge("validate", err)
		},
		func() error {
			_, err := l.config.AddNetworkList(ctx, l.list, rt)
			return l.judge("add", err)
		},
		func() error {
			if !s.AtLeast(checkSince) {
				return nil
			}
			return l.judge("check", l.config.CheckNetworkList(ctx, l.list, rt))
		},
		func() error { return l.judge("delete", l.config.DelNetworkList(ctx, l.list, rt)) },
		func() error { return l.judge("delete again", l.config.DelNetworkList(ctx, l.list, rt)) },
	)
}

func libraryStatus(ctx context.Context, s *stage.Stage) error {
	l, err := newLibrary(s)
	if err != nil {
		return err
	}
	return l.judge("status", l.config.GetStatusNetworkList(ctx, l.list))
}

func libraryGC(ctx context.Context, s *stage.Stage) error {
	before, err := s.Baseline(ctx)
	if err != nil {
		return err
	}
	l, err := newLibrary(s)
	if err != nil {
		return err
	}
	a, err := s.Bare(ctx, "a")
	if err != nil {
		return err
	}
	if _, err := l.config.AddNetworkList(ctx, l.list, runtimeConf(a)); err != nil {
		return &stage.Blocked{What: "ADD through libcni fails: " + err.Error(), Reply: &l.exec.last}
	}
	if err := s.RemoveNetns(ctx, a); err != nil {
		return err
	}
	if err := l.judge("gc", l.config.GCNetworkList(ctx, l.list, &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}})); err != nil {
		return err
	}
	return nothingBeyond(ctx, s, before, l.exec.last, "GC")
}
