package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/kernel"
)

// The CNI error codes of this plugin. 1, 4 to 8, 11 and 50 mean what the
// specification says:
//
//	 1  CNI version not supported
//	 4  an environment variable is wrong; CNI_IFNAME of an interface that exists
//	 5  a file could not be read or written
//	 6  the configuration is not JSON, or a key holds the wrong type
//	 7  the configuration is not valid
//	 8  CNI_NETNS is no network namespace, or the plugin's own
//	11  try again: the daemon has not prepared the node, the allocator is locked
//	50  STATUS: an ADD would fail
//
// The rest is ours. 100 to 103 are those of package ipam: pool full, address
// taken, attachment holds an address already, reservation missing.
const (
	codeKernel   uint = 110 // the kernel refused a step
	codeDiffers  uint = 111 // CHECK: something is not as ADD made it
	codeAttached uint = 112 // ADD: the container has this interface already
	codeDelegate uint = 113 // another IPAM plugin failed without saying how
	codeGC       uint = 114 // GC: some attachments could not be removed
)

// codedError is an error with its CNI code.
type codedError struct {
	code uint
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// failf makes an error of a CNI code.
func failf(code uint, format string, args ...any) error {
	return &codedError{code: code, err: fmt.Errorf(format, args...)}
}

// cniError gives err the form of the CNI specification. doing stands before
// the message and names the attachment.
func cniError(doing string, err error) *types.Error {
	// Joined errors come in lines of their own; logs and kubectl want one.
	msg := doing + ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
	var coded *codedError
	if errors.As(err, &coded) {
		return types.NewError(coded.code, msg, "")
	}
	var delegated *types.Error
	if errors.As(err, &delegated) {
		return types.NewError(delegated.Code, msg, "")
	}
	if errors.Is(err, endpoint.ErrName) {
		return types.NewError(types.ErrInvalidEnvironmentVariables, "CNI_CONTAINERID, CNI_IFNAME: "+msg, "")
	}
	return types.NewError(ipam.CNIError(err).Code, msg+remedy(err), "")
}

// remedy says what to do about a file system's errors.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "; free space or inodes on that file system"
	case errors.Is(err, syscall.EROFS):
		return "; mount that file system writable"
	case errors.Is(err, fs.ErrPermission):
		return "; the plugin must run as root"
	}
	return ""
}

// netnsError gives the errors of opening a pod's namespace their code.
func netnsError(err error) error {
	switch {
	case errors.Is(err, kernel.ErrOwnNetns):
		return failf(types.ErrInvalidNetNS, "CNI_NETNS: %w; pods of the host network need no plugin", err)
	case errors.Is(err, kernel.ErrNotNetns), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return failf(types.ErrInvalidNetNS, "CNI_NETNS: %w; give the path of a namespace that exists, such as /var/run/netns/NAME", err)
	}
	if errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EPERM) {
		return failf(types.ErrIOFailure, "CNI_NETNS: %w%s", err, remedy(err))
	}
	return kernelError(err)
}

// kernelError gives what the kernel refused its code.
func kernelError(err error) error {
	if errors.Is(err, kernel.ErrLinkExists) {
		return failf(codeAttached, "%w; run DEL for this container first", err)
	}
	return failf(codeKernel, "%w", err)
}
