package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ropeway-net/ropeway/daemon/status"
)

const (
	// mostTopics bounds how many reasons, by node, are waiting or remembered.
	mostTopics = 256
	// mostTexts bounds the different messages that one event holds.
	mostTexts = 5
	// eventNamespace is where events on objects without a namespace go.
	eventNamespace = metav1.NamespaceDefault
	// component names the daemon in the column FROM.
	component = "ropewayd"
)

// topic is what events are gathered by.
type topic struct {
	reason, node string
}

// bin holds notices until they are written as events.
type bin struct {
	changed chan struct{} // holds one report

	mu       sync.Mutex
	subjects map[topic]*subject
}

// subject is what is known about a topic.
type subject struct {
	waiting gathered
	due     time.Time // nothing is written before
	written written
}

// gathered is what was noticed and has not been written.
type gathered struct {
	warning     bool
	texts       []string // different messages, in the order of their arrival
	more        int      // notices beyond mostTexts messages
	count       int      // notices; 0: there is nothing to write
	counts      map[string]int
	first, last time.Time
}

// add puts what was noticed later behind.
func (g *gathered) add(later gathered) {
	if g.count == 0 {
		g.first = later.first
	}
	g.warning, g.last = later.warning, later.last
	g.count += later.count
	g.more += later.more
	for _, text := range later.texts {
		switch {
		case slices.Contains(g.texts, text):
		case len(g.texts) < mostTexts:
			g.texts = append(g.texts, text)
		default:
			g.more++
		}
	}
	g.counts = sum(g.counts, later.counts)
}

// written is an event that exists and may be counted up.
type written struct {
	name   string // empty: none
	text   string // of the notices, without counts
	count  int
	counts map[string]int
	at     time.Time
}

func newBin() bin { return bin{changed: make(chan struct{}, 1), subjects: map[topic]*subject{}} }

// Notify takes a notice, which becomes an event on its node, or part of one.
// It never waits for the API server.
func (a *API) Notify(n status.Notice) {
	if n.Node == "" {
		n.Node = a.cfg.Node
	}
	if a.bin.gather(n, time.Now(), a.calm) {
		select {
		case a.bin.changed <- struct{}{}:
		default:
		}
	}
}

// gather adds a notice and says whether there is something to write.
func (b *bin) gather(n status.Notice, now time.Time, calm calm) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := topic{n.Reason, n.Node}
	s := b.subjects[t]
	if s == nil {
		if len(b.subjects) >= mostTopics && !b.forget(now) {
			return false // the log has it
		}
		s = &subject{}
		b.subjects[t] = s
	}
	if s.waiting.count == 0 && s.due.Before(now.Add(calm.gather)) {
		s.due = now.Add(calm.gather)
	}
	s.waiting.add(gathered{warning: n.Warning, texts: []string{n.Message}, count: 1, counts: n.Counts, first: now, last: now})
	return true
}

// forget drops the subject that was written about least recently, if nothing
// about it waits.
func (b *bin) forget(now time.Time) bool {
	var oldest topic
	at := now
	for t, s := range b.subjects {
		if s.waiting.count == 0 && s.due.Before(at) {
			oldest, at = t, s.due
		}
	}
	delete(b.subjects, oldest)
	return oldest != topic{}
}

func sum(a, b map[string]int) map[string]int {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(b)
	for k, n := range a {
		out[k] += n
	}
	return out
}

// take takes out what is due of one topic, or returns how long until
// something is; 0: nothing waits.
func (b *bin) take(now time.Time) (topic, gathered, written, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var wait time.Duration
	for t, s := range b.subjects {
		if s.waiting.count == 0 {
			continue
		}
		rest := s.due.Sub(now)
		if rest <= 0 {
			g := s.waiting
			s.waiting = gathered{}
			return t, g, s.written, 0
		}
		if wait == 0 || rest < wait {
			wait = rest
		}
	}
	return topic{}, gathered{}, written{}, wait
}

// putBack returns what could not be written.
func (b *bin) putBack(t topic, g gathered) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.subjects[t]; s != nil {
		g.add(s.waiting)
		s.waiting = g
	}
}

// wrote remembers what was written, and that the next one has time.
func (b *bin) wrote(t topic, w written, due time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.subjects[t]; s != nil {
		s.written, s.due = w, due
	}
}

// writeEvents writes what is due until ctx ends. What cannot be written waits.
func (a *API) writeEvents(ctx context.Context, c *client) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var delay time.Duration
	var told string
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.bin.changed:
			if delay > 0 {
				continue // the timer runs
			}
		case <-timer.C:
		}
		wait, err := a.writeDue(ctx, c)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			delay = min(max(2*delay, firstRetry), time.Minute)
			wait = delay
			if text := err.Error(); text != told {
				told = text
				a.cfg.Log.Warn("events cannot be written, they wait", "cause", text)
			}
		default:
			delay, told = 0, ""
		}
		if wait > 0 {
			timer.Reset(wait)
		}
	}
}

// writeDue writes each topic that is due and returns when the next one is.
func (a *API) writeDue(ctx context.Context, c *client) (time.Duration, error) {
	for {
		t, g, before, wait := a.bin.take(time.Now())
		if t == (topic{}) {
			return wait, nil
		}
		w, err := c.writeEvent(ctx, t, g, before, a.cfg.Node)
		switch {
		case apierrors.IsInvalid(err), apierrors.IsBadRequest(err): // it would never be taken
			a.cfg.Log.Error("an event was refused", "reason", t.reason, "node", t.node, "cause", err.Error())
		case err != nil:
			a.bin.putBack(t, g)
			return 0, err
		}
		a.bin.wrote(t, w, time.Now().Add(a.calm.event))
	}
}

// eventLife is how long an event is counted up; API servers delete it after an
// hour without a change.
const eventLife = 50 * time.Minute

// writeEvent counts up the event that says the same, or makes one.
func (c *client) writeEvent(ctx context.Context, t topic, g gathered, have written, reporter string) (written, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now := time.Now()
	w := written{text: textOf(g), count: g.count, counts: g.counts, at: now}
	if have.name != "" && have.text == w.text && now.Sub(have.at) < eventLife {
		w.name, w.count, w.counts = have.name, have.count+g.count, sum(g.counts, have.counts)
		err := c.countUp(ctx, w, g.last)
		if !apierrors.IsNotFound(err) {
			return w, c.explained(request{verb: "patch", resource: "events"}, err)
		}
		w.count, w.counts = g.count, g.counts
	}
	w.name = eventName(t.node, now)
	err := c.rest.Post().Namespace(eventNamespace).Resource("events").Body(eventOf(t, g, w, reporter)).Do(ctx).Error()
	return w, c.explained(request{verb: "create", resource: "events"}, err)
}

func (c *client) explained(r request, err error) error {
	if err == nil {
		return nil
	}
	return c.explain(r, err)
}

func (c *client) countUp(ctx context.Context, w written, last time.Time) error {
	body, err := json.Marshal(map[string]any{"count": w.count, "lastTimestamp": metav1.NewTime(last), "message": messageOf(w)})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	return c.rest.Patch(types.MergePatchType).Namespace(eventNamespace).Resource("events").Name(w.name).Body(body).Do(ctx).Error()
}

// eventName is unique, and short enough also for the longest node name.
func eventName(node string, now time.Time) string {
	const most = 200
	node = strings.TrimRight(node[:min(len(node), most)], "-.")
	return fmt.Sprintf("%s.%x", node, now.UnixNano())
}

// eventOf makes an event as kubelet makes them for its node: kubectl describe
// looks for the node's name in place of its UID.
func eventOf(t topic, g gathered, w written, reporter string) *corev1.Event {
	kind := corev1.EventTypeNormal
	if g.warning {
		kind = corev1.EventTypeWarning
	}
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: w.name, Namespace: eventNamespace},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Node", Name: t.node, UID: types.UID(t.node),
		},
		Reason: t.reason, Message: messageOf(w), Type: kind, Count: int32(min(w.count, 1<<30)),
		Source:         corev1.EventSource{Component: component, Host: reporter},
		FirstTimestamp: metav1.NewTime(g.first), LastTimestamp: metav1.NewTime(g.last),
	}
}

func textOf(g gathered) string {
	text := strings.Join(g.texts, "; ")
	if g.more > 0 {
		text += fmt.Sprintf("; and %d more", g.more)
	}
	return text
}

// messageOf adds the counts by kind, sorted, to the text.
func messageOf(w written) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(w.counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", w.counts[kind], kind))
	}
	text := w.text
	if len(parts) > 0 {
		text += " (" + strings.Join(parts, ", ") + ")"
	}
	return shorten(text, mostMessage)
}
