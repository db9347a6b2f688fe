package ipam

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/containernetworking/cni/pkg/types"
)

// CNI error codes of our own; the specification leaves 100 and up to plugins.
const (
	CodeFull    uint = 100 // no free address in a range set
	CodeTaken   uint = 101 // a requested address is held by another container
	CodeHeld    uint = 102 // the attachment already holds an address
	CodeMissing uint = 103 // CHECK: the reservation is gone or another's
)

// Classes of errors, for errors.Is. [CNIError] gives the code of each.
var (
	ErrDecode      = errors.New("network configuration cannot be decoded")        // 6
	ErrConfig      = errors.New("network configuration is not valid")             // 7
	ErrField       = errors.New("network configuration has an unknown key")       // 2
	ErrNoRange     = errors.New("network configuration names no range")           // 7
	ErrEnvironment = errors.New("CNI environment variable is not valid")          // 4
	ErrLocked      = errors.New("reservations are locked by another process")     // 11
	ErrFull        = errors.New("no free address")                                // CodeFull
	ErrTaken       = errors.New("requested address is held by another container") // CodeTaken
	ErrHeld        = errors.New("attachment already holds an address")            // CodeHeld
	ErrMissing     = errors.New("reservation is missing")                         // CodeMissing
)

// classified gives an error a class without putting the class into its text.
type classified struct {
	class error
	err   error
}

func (c *classified) Error() string   { return c.err.Error() }
func (c *classified) Unwrap() []error { return []error{c.class, c.err} }

func errorf(class error, format string, args ...any) error {
	return &classified{class, fmt.Errorf(format, args...)}
}

// CNIError gives err the code that the CNI specification, or [CodeFull] and its
// neighbours, have for it: an unknown key 2, an address range that is full 100, a requested
// address that is taken 101, a second allocation 102, a reservation that CHECK
// misses 103, a lock that is not free in time 11, a configuration that is not
// valid 7 or cannot be decoded 6, an environment variable 4, files 5, anything
// else 999. A *types.Error in err's chain is returned as it is. It returns nil
// for nil; do not store that in an error.
func CNIError(err error) *types.Error {
	if err == nil {
		return nil
	}
	var known *types.Error
	if errors.As(err, &known) {
		return known
	}
	return types.NewError(code(err), err.Error(), "")
}

func code(err error) uint {
	for _, c := range []struct {
		class error
		code  uint
	}{
		{ErrLocked, types.ErrTryAgainLater},
		{ErrFull, CodeFull},
		{ErrTaken, CodeTaken},
		{ErrHeld, CodeHeld},
		{ErrMissing, CodeMissing},
		{ErrDecode, types.ErrDecodingFailure},
		{ErrField, types.ErrUnsupportedField},
		{ErrConfig, types.ErrInvalidNetworkConfig},
		{ErrNoRange, types.ErrInvalidNetworkConfig},
		{ErrEnvironment, types.ErrInvalidEnvironmentVariables},
		{context.DeadlineExceeded, types.ErrTryAgainLater},
		{context.Canceled, types.ErrTryAgainLater},
	} {
		if errors.Is(err, c.class) {
			return c.code
		}
	}
	var path *fs.PathError
	var link *os.LinkError
	var errno syscall.Errno
	if errors.As(err, &path) || errors.As(err, &link) || errors.As(err, &errno) {
		return types.ErrIOFailure
	}
	return types.ErrInternal
}
