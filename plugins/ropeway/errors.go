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
	"github.com/ropeway-net/ropeway/statedir"
)

// The error codes of our own; docs/errors.md has them all, with those of the
// specification and of package ipam.
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
	err = statedir.Explain(err)
	msg := doing + ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
	var coded *codedError
	if errors.As(err, &coded) {
		return types.NewError(coded.code, msg, "")
	}
	var delegated *types.Error
	if errors.As(err, &delegated) {
		return types.NewError(delegated.Code, msg, "")
	}
	if errors.Is(err, endpoint.ErrBusy) {
		return types.NewError(types.ErrTryAgainLater, msg+"; wait for it, then DEL", "")
	}
	if errors.Is(err, endpoint.ErrName) {
		return types.NewError(types.ErrInvalidEnvironmentVariables, "CNI_CONTAINERID, CNI_IFNAME: "+msg, "")
	}
	return types.NewError(ipam.CNIError(err).Code, msg, "")
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
		return failf(types.ErrIOFailure, "CNI_NETNS: %w", statedir.Explain(err))
	}
	return kernelError(err)
}

// kernelError gives what the kernel refused its code.
func kernelError(err error) error {
	if errors.Is(err, kernel.ErrLinkExists) {
		return failf(codeAttached, "%w; run DEL for this container first", err)
	}
	for _, passing := range []error{syscall.EBUSY, syscall.EAGAIN, syscall.EINTR, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, passing) {
			return failf(types.ErrTryAgainLater, "%w; the kernel has too much to do: try again", err)
		}
	}
	return failf(codeKernel, "%w", err)
}
