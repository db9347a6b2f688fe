package probe

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/ropeway-net/ropeway/daemon/status"
)

// tellers is about how many nodes tell the operator of the same dead peer. All
// of them see it, and the logs and figures of all of them have it.
const tellers = 8

// news gathers changes, so that a switch that fails is one notice.
type news struct {
	due       time.Time         // when they are told; zero: there are none
	lost      map[string]string // reason by peer
	recovered map[string]bool
}

func newNews() news { return news{lost: map[string]string{}, recovered: map[string]bool{}} }

func (n *news) gone(t Target, reason string, due time.Time) {
	if n.recovered[t.Peer] {
		delete(n.recovered, t.Peer) // it was away only for a moment before
	}
	n.lost[t.Peer] = reason
	n.at(due)
}

func (n *news) back(t Target, due time.Time) {
	if _, untold := n.lost[t.Peer]; untold {
		delete(n.lost, t.Peer)
		return
	}
	n.recovered[t.Peer] = true
	n.at(due)
}

func (n *news) at(due time.Time) {
	if n.due.IsZero() {
		n.due = due
	}
}

// tell gives one notice about all that became unreachable, and one about all
// that answer again.
func (r *run) tell() {
	lost, recovered := r.news.lost, r.news.recovered
	r.news = newNews()
	names := slices.Sorted(maps.Keys(lost))
	if r.speaks(names) {
		text := fmt.Sprintf("node %s does not answer: %s", names[0], lost[names[0]])
		if len(names) > 1 {
			text = fmt.Sprintf("%d of %d nodes do not answer; of these node %s: %s; all of them shows ropewayctl status on this node", len(names), r.Reachability().Probed, names[0], lost[names[0]])
		}
		r.cfg.Notify(status.Notice{Warning: true, Reason: status.PeerUnreachable, Message: text})
	}
	names = slices.Sorted(maps.Keys(recovered))
	if r.speaks(names) {
		text := fmt.Sprintf("node %s answers again", names[0])
		if len(names) > 1 {
			text = fmt.Sprintf("%d nodes answer again, node %s among them", len(names), names[0])
		}
		r.cfg.Notify(status.Notice{Reason: status.PeerReachable, Message: text})
	}
}

// speaks says whether this node is one of those that tell about one of the
// peers. About several at once every node does: it may be the one that is cut
// off.
func (r *run) speaks(peers []string) bool {
	all := r.Reachability().Probed
	if len(peers) != 1 || all <= tellers {
		return len(peers) > 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.cfg.Self + " " + peers[0]))
	return int(h.Sum32()%uint32(all)) < tellers
}
