package reconcile

import (
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/daemon/topology"
)

// noteObstacles tells of each obstacle once, and again when it comes back. One
// that is still in the way is a problem, and logged as that.
func (l *Loop) noteObstacles(obstacles []topology.Obstacle) {
	now := map[string]struct{}{}
	for _, o := range obstacles {
		now[o.Message] = struct{}{}
		if _, old := l.told.obstacles[o.Message]; old {
			continue
		}
		if o.Overcome {
			l.log.Info("obstacle dealt with", "cause", o.Message)
		}
		l.cfg.Notify(status.Notice{Warning: !o.Overcome, Reason: noticeReason(o.Kind), Message: o.Message})
	}
	l.told.obstacles = now
}

func noticeReason(kind topology.ObstacleKind) string {
	if kind == topology.WrongChecksums {
		return status.ChecksumOffloadDisabled
	}
	return status.ForeignFirewallDrops
}
