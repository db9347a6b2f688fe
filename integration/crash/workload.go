package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Workload attaches and detaches pods, one in each namespace at a time, while
// another program keeps the file system writing: on a node something always
// does, and takes to the disk some of what others have not asked to be there.
type Workload struct {
	Node *Node
	Pods []*Namespace
	// Prefix begins the container IDs, so that no other workload has them.
	Prefix string
	// Log is a file on the same file system, which the other program writes.
	Log string
	// Attached is told of each pod that has been attached, by goroutines of
	// their own; nil if nobody wants to know.
	Attached func(Attachment)
}

// Attachment is what round number round attaches in a pod's namespace. Each
// namespace has its own host port.
func (w Workload) attachment(pod, round int) Attachment {
	return Attachment{ID: fmt.Sprintf("%s-%d-%d", w.Prefix, pod, round), Netns: w.Pods[pod].Path, HostPort: firstPort + pod}
}

const firstPort = 8080

// Run goes on in all namespaces at once for so many rounds, or until ctx ends
// if that is 0. The first error ends it.
func (w Workload) Run(ctx context.Context, rounds int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(w.Pods)+1)
	var all, other sync.WaitGroup
	other.Go(func() { errs[len(w.Pods)] = w.log(ctx) })
	for pod := range w.Pods {
		all.Go(func() {
			for round := 0; ctx.Err() == nil && (rounds == 0 || round < rounds); round++ {
				if err := w.round(ctx, w.attachment(pod, round)); err != nil {
					errs[pod] = err
					cancel()
				}
			}
		})
	}
	all.Wait()
	cancel()
	other.Wait()
	return errors.Join(errs...)
}

// log appends to a file, and waits until that is on the disk, again and again.
func (w Workload) log(ctx context.Context) error {
	f, err := os.OpenFile(w.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	pause := time.NewTicker(logInterval)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return f.Close()
		case <-pause.C:
		}
		if _, err := f.WriteString("something happened\n"); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
}

const logInterval = 3 * time.Millisecond

func (w Workload) round(ctx context.Context, a Attachment) error {
	result, _, err := w.Node.Add(ctx, a)
	if err == nil && w.Attached != nil {
		w.Attached(a)
	}
	if err == nil {
		err = w.Node.Check(ctx, a, result)
	}
	if err == nil {
		err = w.Node.Del(ctx, a)
	}
	return err
}
