package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

func TestFileSystemErrorsSayTheRemedyOnce(t *testing.T) {
	for errno, remedy := range map[syscall.Errno]string{
		syscall.ENOSPC:  "free space",
		syscall.EDQUOT:  "free space",
		syscall.EROFS:   "writable",
		syscall.ENOTDIR: "move it away",
		syscall.EACCES:  "root",
	} {
		cause := &fs.PathError{Op: "open", Path: "/x", Err: errno}
		err := Explain(fmt.Errorf("outer: %w", errors.Join(errors.New("another"), Explain(cause))))
		if strings.Count(err.Error(), remedy) != 1 || !errors.Is(err, errno) {
			t.Errorf("%v: error %q, want %q in it once", errno, err, remedy)
		}
	}
}

func TestOtherErrorsAreLeftAsTheyAre(t *testing.T) {
	for _, err := range []error{nil, errors.New("other"), fs.ErrNotExist} {
		if got := Explain(err); !errors.Is(got, err) || fmt.Sprint(got) != fmt.Sprint(err) {
			t.Errorf("Explain(%v) = %v", err, got)
		}
	}
}
