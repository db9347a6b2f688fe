package kubernetes

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of the condition NetworkUnavailable.
const (
	ReasonUp   = "RopewayIsUp"
	ReasonDown = "RopewayIsNotReady"
)

const upMessage = "Ropeway keeps this node's paths: the kernel holds what it should"

// mostMessage bounds a condition's message, in bytes.
const mostMessage = 1024

// condition is NetworkUnavailable as far as it is compared. A heartbeat of it
// would be a write per node and minute for nothing. The zero value: there is
// none.
type condition struct {
	status          corev1.ConditionStatus
	reason, message string
	transition      time.Time // of status
}

func conditionOf(node *corev1.Node) condition {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			return condition{c.Status, c.Reason, c.Message, c.LastTransitionTime.Time}
		}
	}
	return condition{}
}

// condition returns what should be there in place of have, and when to look
// again. A pause of readiness shorter than patience is kept to ourselves: the
// scheduler would turn pods away for nothing.
func (t truth) condition(have condition, now time.Time, patience time.Duration) (condition, time.Duration) {
	want := have
	switch {
	case !t.known:
		return have, 0
	case t.ready:
		want.status, want.reason, want.message = corev1.ConditionFalse, ReasonUp, upMessage
	default:
		if wait := t.since.Add(patience).Sub(now); wait > 0 {
			return have, wait
		}
		want.status, want.reason, want.message = corev1.ConditionTrue, ReasonDown, shorten(t.cause, mostMessage)
	}
	return want, 0
}

// key tells writes apart by what they mean; a cause that is worded differently
// each time is written as seldom as one that somebody overwrites.
func (c condition) key() string { return string(c.status) + c.reason }

func (c condition) object(now time.Time, have condition) corev1.NodeCondition {
	transition := metav1.NewTime(now)
	if c.status == have.status && !have.transition.IsZero() {
		transition = metav1.NewTime(have.transition)
	}
	return corev1.NodeCondition{
		Type: corev1.NodeNetworkUnavailable, Status: c.status, Reason: c.reason, Message: c.message,
		LastHeartbeatTime: metav1.NewTime(now), LastTransitionTime: transition,
	}
}

// shorten cuts text to at most so many bytes, between characters.
func shorten(text string, most int) string {
	const mark = "..."
	if len(text) <= most {
		return text
	}
	cut := most - len(mark)
	for cut > 0 && text[cut]&0xC0 == 0x80 { // inside a character
		cut--
	}
	return text[:cut] + mark
}
