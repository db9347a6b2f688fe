package kubernetes

import (
	"context"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	firstRetry = 200 * time.Millisecond
	// lastRetry is short beside client-go's 30 to 60 seconds: nodes that join
	// while the API server starts want their paths. Thousands of daemons that
	// do so are spread by the jitter.
	lastRetry = 8 * time.Second
)

// listWatch asks again by itself while the server does not answer or refuses.
// The informer would wait up to a minute between attempts, and not end while
// it waits.
func (a *API) listWatch(c *client, complaints *complaints) *cache.ListWatch {
	plain := cache.NewListWatchFromClient(c.rest, "nodes", metav1.NamespaceAll, fields.Everything())
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return insist(ctx, c, complaints, request{verb: "list", resource: "nodes"}, func() (runtime.Object, error) {
				return plain.ListWithContext(ctx, options)
			})
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return insist(ctx, c, complaints, request{verb: "watch", resource: "nodes"}, func() (watch.Interface, error) {
				return plain.WatchWithContext(ctx, options)
			})
		},
	}
}

// insist repeats a request until it is answered with what it asks for or with
// something that the informer acts on.
func insist[T any](ctx context.Context, c *client, complaints *complaints, r request, ask func() (T, error)) (T, error) {
	for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
		answer, err := ask()
		switch {
		case ctx.Err() != nil:
			return answer, err
		case err == nil:
			complaints.set(aboutConnection, nil)
			return answer, nil
		case isConversation(err):
			return answer, err
		}
		complaints.set(aboutConnection, c.explain(r, err))
		pause(ctx, delay/2+rand.N(delay/2+1))
		if ctx.Err() != nil {
			return answer, ctx.Err()
		}
	}
}

// isConversation says whether the informer knows what to do about an error: a
// version that the server does not have any more or not yet, or the streamed
// list that an older server does not know.
func isConversation(err error) bool {
	if apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		return true
	}
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonExpired, metav1.StatusReasonGone, metav1.StatusReasonInvalid:
		return true
	default:
		return false
	}
}
