package coordinator

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"neoteny/internal/cluster"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/schedule"
)

const (
	parallel    = 8                // actions at a time: etcd takes one fsync for all
	barrierTime = 10 * time.Second // the mirror may be this far behind
	maxPause    = 30 * time.Second // of an action that fails again and again
)

// pause is when a failed action may be tried again, after how many failures.
type pause struct {
	until time.Time
	fails int
}

func (s *Service) loop(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
		if s.Ready() != nil {
			continue
		}
		start := time.Now()
		if s.pass(ctx) > 0 {
			s.metrics.Passed(time.Since(start).Seconds())
		}
	}
}

// pass looks and acts once. It returns how many actions succeeded.
func (s *Service) pass(ctx context.Context) (done int) {
	var upkeep, assign []schedule.Action
	s.mirror.Read(func(st *mirror.State) {
		now := s.at(st)
		if upkeep = s.due(now.Upkeep()); len(upkeep) == 0 {
			assign = now.Assign() // of the same moment: no commit comes between
		}
	})
	if len(upkeep) > 0 {
		done = s.do(ctx, upkeep)
		s.mirror.Read(func(st *mirror.State) { assign = s.at(st).Assign() })
	}
	return done + s.do(ctx, s.due(assign))
}

// at is what decisions are made on now.
func (s *Service) at(st *mirror.State) schedule.Snapshot {
	return schedule.Snapshot{State: st, Now: s.cfg.Now(), Config: s.cfg.schedule()}
}

// do carries out actions and waits until the mirror shows them, so that the
// next decision is made on what they have led to. It returns how many
// succeeded.
func (s *Service) do(ctx context.Context, actions []schedule.Action) (done int) {
	if len(actions) == 0 {
		return 0
	}
	var (
		mu                sync.Mutex
		rev               int64
		conflicts, cutOff bool
		g                 errgroup.Group
	)
	g.SetLimit(parallel)
	for _, a := range actions {
		g.Go(func() error {
			mu.Lock()
			skip := cutOff
			mu.Unlock()
			if skip {
				return nil
			}
			at, err := s.attempt(ctx, a)
			mu.Lock()
			defer mu.Unlock()
			key := a.Key()
			switch {
			case err == nil:
				done++
				rev = max(rev, at)
				delete(s.pauses, key)
			case errors.Is(err, cluster.ErrConflict):
				conflicts = true
				s.log.Debug("changed meanwhile", "action", key.What, "id", key.ID, "error", err)
			case ctx.Err() != nil:
			case cluster.IsUnavailable(err):
				// The others would only wait for the same: look again later.
				cutOff = true
				s.log.Warn("etcd does not answer, will be tried again", "action", key.What, "id", key.ID, "error", err)
			default:
				p := s.pauses[key]
				p.until = s.cfg.Now().Add(min(100*time.Millisecond<<min(p.fails, 10), maxPause))
				p.fails++
				s.pauses[key] = p
				s.log.Warn("will be tried again", "action", key.What, "id", key.ID, "failures", p.fails, "error", err)
			}
			return nil
		})
	}
	_ = g.Wait() // actions do not return errors
	s.mirror.Wait(ctx, barrierTime, func(st *mirror.State) bool { return st.Rev >= rev })
	if conflicts {
		s.kick()
	}
	return done
}

// attempt carries out one action. A panic in it is an error of this action alone:
// one experiment that the program cannot handle must not end the process, which
// would meet it again after every restart.
func (s *Service) attempt(ctx context.Context, a schedule.Action) (rev int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			key := a.Key()
			s.log.Error("panic in an action", "action", key.What, "id", key.ID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			rev, err = 0, fmt.Errorf("panic: %v", p)
		}
	}()
	return s.execute(ctx, a)
}

// due leaves out actions that failed a moment ago.
func (s *Service) due(actions []schedule.Action) []schedule.Action {
	now := s.cfg.Now()
	for k, p := range s.pauses {
		if now.After(p.until.Add(10 * maxPause)) {
			delete(s.pauses, k) // of something that is no more
		}
	}
	return slices.DeleteFunc(actions, func(a schedule.Action) bool {
		p, ok := s.pauses[a.Key()]
		return ok && now.Before(p.until)
	})
}
