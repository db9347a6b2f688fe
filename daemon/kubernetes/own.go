package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ropeway-net/ropeway/daemon/status"
)

// own is this node as the API server has it, and as the daemon wants it.
type own struct {
	changed chan struct{} // holds one report

	mu        sync.Mutex
	there     *ownRecord // nil: the object does not exist, or is not known yet
	truth     truth
	announced *string // the annotation; nil: the daemon has not chosen yet
}

// truth is whether this node carries pods' packets.
type truth struct {
	known bool
	ready bool
	cause string    // why it is not ready
	since time.Time // when ready last changed
}

func newOwn() own { return own{changed: make(chan struct{}, 1)} }

func (o *own) kick() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// see takes over what a record says, if it is this node's.
func (o *own) see(r *record) {
	if r.own == nil {
		return
	}
	o.mu.Lock()
	same := o.there != nil && *o.there == *r.own
	o.there = r.own
	o.mu.Unlock()
	if !same {
		o.kick()
	}
}

func (o *own) lose(r *record) {
	if r.own == nil {
		return
	}
	o.mu.Lock()
	o.there = nil
	o.mu.Unlock()
}

// Passed takes what the loop knows after a pass. It never waits for the API
// server.
func (a *API) Passed(r status.Report) {
	a.judge(r)
	switch {
	case len(r.Address.Addresses) == 0: // not chosen yet
	case r.Address.Chosen:
		a.announce(r.Address.Addresses)
	default:
		a.announce(nil)
	}
}

// judge takes whether the kernel holds what it should, and why not. It becomes
// the node's condition NetworkUnavailable.
func (a *API) judge(r status.Report) {
	ready, cause := r.Ready, r.Reason
	o := &a.own
	o.mu.Lock()
	if !o.truth.known || o.truth.ready != ready {
		o.truth.since = time.Now()
	}
	changed := !o.truth.known || o.truth.ready != ready || o.truth.cause != cause
	o.truth.known, o.truth.ready, o.truth.cause = true, ready, cause
	o.mu.Unlock()
	if changed {
		o.kick()
	}
}

// announce tells the other nodes by which addresses to reach this one; none
// means by the InternalIPs of its Node object.
func (a *API) announce(addresses []netip.Addr) {
	texts := make([]string, len(addresses))
	for n, address := range addresses {
		texts[n] = address.String()
	}
	text := strings.Join(texts, ",")
	a.own.mu.Lock()
	changed := a.own.announced == nil || *a.own.announced != text
	a.own.announced = &text
	a.own.mu.Unlock()
	if changed {
		a.own.kick()
		a.nodesChanged()
	}
}

// announces says whether an annotation is what the daemon says now.
func (o *own) announces(annotation string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.announced != nil && *o.announced == annotation
}

// writeOwn keeps the condition and the annotation as they should be until ctx
// ends.
func (a *API) writeOwn(ctx context.Context, c *client) {
	w := ownWriter{api: a, client: c}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.own.changed:
		case <-timer.C:
		}
		if again := w.write(ctx, time.Now()); again > 0 {
			timer.Reset(again)
		}
	}
}

// ownWriter is of one goroutine.
type ownWriter struct {
	api    *API
	client *client

	delay     time.Duration // after a failure
	retry     time.Time     // nothing is written before
	condition lastWrite
	announce  lastWrite
	told      string // failure that was logged
}

// lastWrite keeps two programs that overwrite each other from doing so without
// a pause.
type lastWrite struct {
	text string
	at   time.Time
}

// due returns how long to wait before text may be written.
func (l lastWrite) due(text string, now time.Time, rest time.Duration) time.Duration {
	if l.text != text {
		return 0
	}
	return max(0, l.at.Add(rest).Sub(now))
}

// write writes what differs and returns when to look again; 0 means when
// something changes.
func (w *ownWriter) write(ctx context.Context, now time.Time) time.Duration {
	if rest := w.retry.Sub(now); rest > 0 {
		return rest
	}
	o := &w.api.own
	o.mu.Lock()
	there, state, announce := o.there, o.truth, o.announced
	o.mu.Unlock()
	if there == nil {
		return 0
	}
	patch := statusPatch{}
	var again time.Duration
	later := func(d time.Duration) {
		if d > 0 && (again == 0 || d < again) {
			again = d
		}
	}
	want, wait := state.condition(there.condition, now, w.api.calm.unready)
	later(wait)
	if want != there.condition {
		if wait := w.condition.due(want.key(), now, w.api.calm.rewrite); wait > 0 {
			later(wait)
		} else {
			patch.Status = &statusBody{Conditions: []corev1.NodeCondition{want.object(now, there.condition)}}
		}
	}
	if announce != nil && *announce != there.annotation {
		if wait := w.announce.due(*announce, now, w.api.calm.rewrite); wait > 0 {
			later(wait)
		} else {
			patch.annotate(*announce)
		}
	}
	if patch.empty() {
		return again
	}
	if err := w.client.patchNode(ctx, w.api.cfg.Node, patch); err != nil {
		return w.failed(ctx, err, now)
	}
	w.succeeded()
	if patch.Status != nil {
		w.condition = lastWrite{want.key(), now}
	}
	if patch.Metadata != nil {
		w.announce = lastWrite{*announce, now}
	}
	// The informer reports the change; look again in case it was overwritten
	// at once, and the report shows no difference.
	later(w.api.calm.rewrite)
	return again
}

func (w *ownWriter) failed(ctx context.Context, err error, now time.Time) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	w.delay = min(max(2*w.delay, firstRetry), time.Minute)
	w.retry = now.Add(w.delay)
	if apierrors.IsNotFound(err) { // it was deleted; the informer will say so
		return w.delay
	}
	explained := w.client.explain(request{verb: "patch", resource: "nodes/status"}, err)
	if text := explained.Error(); text != w.told {
		w.told = text
		w.api.cfg.Log.Error("the Node object cannot be written", "node", w.api.cfg.Node, "cause", text)
	}
	return w.delay
}

func (w *ownWriter) succeeded() {
	w.delay = 0
	if w.told != "" {
		w.told = ""
		w.api.cfg.Log.Info("the Node object can be written again", "node", w.api.cfg.Node)
	}
}

// statusPatch is a strategic merge patch for the subresource status, by which
// the API server takes metadata, too. It needs no right on the node's spec.
type statusPatch struct {
	Metadata *metadataBody `json:"metadata,omitempty"`
	Status   *statusBody   `json:"status,omitempty"`
}

type metadataBody struct {
	Annotations map[string]*string `json:"annotations"` // nil removes
}

type statusBody struct {
	Conditions []corev1.NodeCondition `json:"conditions"` // merged by type
}

func (p *statusPatch) annotate(text string) {
	value := &text
	if text == "" {
		value = nil
	}
	p.Metadata = &metadataBody{Annotations: map[string]*string{AddressAnnotation: value}}
}

func (p *statusPatch) empty() bool { return p.Metadata == nil && p.Status == nil }

func (c *client) patchNode(ctx context.Context, node string, patch statusPatch) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encode patch of node %s: %w", node, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return c.rest.Patch(types.StrategicMergePatchType).Resource("nodes").Name(node).SubResource("status").Body(body).Do(ctx).Error()
}
