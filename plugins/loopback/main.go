// loopback is the CNI plugin that sets a pod's loopback interface up. Container
// runtimes call it for every pod before any other plugin, and do not bring it
// along; ropewayd installs this one where there is none. It speaks CNI 0.1.0 to
// 1.1.0, because runtimes ask for it in old versions.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

	"github.com/containernetworking/cni/pkg/version"

	"github.com/ropeway-net/ropeway/plugins/protocol"
)

func main() {
	p := plugin{stdout: os.Stdout}
	protocol.MainAs(p.funcs(), version.All, "CNI plugin loopback: sets a pod's loopback interface up")
}
