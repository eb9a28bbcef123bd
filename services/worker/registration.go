package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/internal/cluster"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
)

// serve keeps the worker registered and takes its assignments until ctx ends,
// and returns the registration of then, if there is one.
func (w *Worker) serve(ctx, hard context.Context, orphans *sync.WaitGroup) (registration, error) {
	for {
		reg, err := w.members.Register(ctx, w.record(false), w.cfg.LeaseTTL)
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil
			}
			return nil, fmt.Errorf("register worker: %w", err)
		}
		w.tel.Registered()
		w.setReady(nil)
		w.log.Info("worker registered", "slots", w.cfg.Slots)
		if w.listen(ctx, hard, reg) {
			return reg, nil
		}

		w.setReady(errors.New("lease lost, registering again"))
		w.log.Warn("lease lost: the segments under way go on, the cluster may give them to others")
		for _, j := range w.board.orphan() {
			orphans.Go(func() { w.attend(j) })
		}
		// What is left of the registration would keep the next one out.
		if err := reg.Close(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("old lease could not be revoked", "error", err)
		}
	}
}

// dataInterval is how often the data folder is looked at.
const dataInterval = 5 * time.Second

// listen takes assignments under one registration. It reports whether ctx ended
// it; else the lease was lost.
func (w *Worker) listen(ctx, hard context.Context, reg registration) bool {
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := w.members.Assignments(wctx, w.cfg.ID)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Error("watch assignments", "error", err)
			select { // not to register in a tight loop
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		return ctx.Err() != nil
	}
	look := time.NewTicker(dataInterval)
	defer look.Stop()
	reported := w.missing()
	var together []*pb.Assignment // that became known at a time
	for {
		select {
		case <-ctx.Done():
			return true
		case <-reg.Lost():
			return false
		case <-look.C:
			if now := w.missing(); !slices.Equal(now, reported) {
				w.log.Info("data folder has changed", "folder", w.cfg.DataFolder, "missing", now)
				if err := reg.Update(ctx, w.record(false)); err != nil {
					w.log.Warn("registration could not be updated", "error", err)
					continue // at the next look
				}
				reported = now
			}
		case ev, ok := <-events:
			if ok && !ev.Withdrawn {
				together = append(together, ev.Assignment)
			}
			if !ok || ev.Withdrawn || !ev.More {
				w.board.add(hard, together...)
				together = nil
			}
			switch {
			case !ok:
				return ctx.Err() != nil
			case ev.Withdrawn:
				id := ev.Assignment.GetId()
				if w.board.held(id) && w.gone(ctx, reg) {
					return false
				}
				for range w.board.withdraw(id) {
					w.tel.Segment(telemetry.SegmentDropped)
				}
			}
		}
	}
}

// orphanPoll is how often the run of a segment that is no longer assigned is
// looked at; a cancelled one must stop within a second.
const orphanPoll = 700 * time.Millisecond

// gone reports whether the registration has ended, as it has when etcd revoked the
// lease before the worker noticed. Its assignments went with it then, which says
// nothing about the work.
func (w *Worker) gone(ctx context.Context, reg registration) bool {
	select {
	case <-reg.Lost():
		return true
	default:
	}
	// A cancelled segment must stop within a second all the same.
	ctx, cancel := context.WithTimeout(ctx, orphanPoll)
	defer cancel()
	return errors.Is(reg.Update(ctx, w.record(false)), cluster.ErrConflict)
}

// attend drops a segment whose assignment went with its lease once its run is
// not wanted any more: no withdrawal will come.
func (w *Worker) attend(j *job) {
	tick := time.NewTicker(orphanPoll)
	defer tick.Stop()
	for {
		select {
		case <-j.ended:
			return
		case <-tick.C:
		}
		if !w.board.isOrphan(j) {
			return
		}
		_, run, err := w.members.RunSpec(j.ctx, j.ref.GetRun())
		if errors.Is(err, cluster.ErrNotFound) || err == nil && over(run.GetState()) {
			j.cancel(errWithdrawn)
			return
		}
	}
}

func over(s pb.RunState) bool {
	switch s {
	case pb.RunState_RUN_STATE_DONE, pb.RunState_RUN_STATE_DIVERGED, pb.RunState_RUN_STATE_FAILED, pb.RunState_RUN_STATE_CANCELLED:
		return true
	}
	return false
}

// drain ends everything within the time for it.
func (w *Worker) drain(hard context.Context, abandon context.CancelCauseFunc, reg registration, slots *sync.WaitGroup) {
	begin := time.Now()
	// The last part of the time is for the registration: revoked, its segments
	// go to others at once.
	reserve := min(time.Second, w.cfg.DrainTimeout/5)
	late := time.AfterFunc(w.cfg.DrainTimeout-reserve, func() { abandon(errTooLate) })
	defer late.Stop()

	queued, running := w.board.close()
	w.log.Info("worker drains", "running", running, "waiting", len(queued))
	var updates sync.WaitGroup
	if reg != nil {
		updates.Go(func() {
			if err := reg.Update(hard, w.record(true)); err != nil {
				w.log.Warn("draining could not be announced", "error", err)
			}
		})
	}
	for _, j := range queued {
		w.release(hard, j)
		w.board.end(j)
	}
	slots.Wait()
	updates.Wait()
	if reg != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(hard), reserve)
		defer cancel()
		if err := reg.Close(ctx); err != nil {
			w.log.Warn("registration could not be ended; its lease will", "error", err)
		}
	}
	w.log.Info("worker drained", "seconds", time.Since(begin).Seconds(), "steps_made", w.tel.StepsMade())
}

// record is the worker's registration.
func (w *Worker) record(draining bool) *pb.Worker {
	return &pb.Worker{
		Id: w.cfg.ID, Address: w.cfg.Address, Slots: int32(w.cfg.Slots), NumericsVersion: engine.NumericsVersion,
		Isa: w.cfg.ISA, Version: w.cfg.Version, Draining: draining, StartedAt: timestamppb.New(w.started),
		MissingDatasets: w.missing(), DataFolder: w.cfg.DataFolder, Lanes: int32(w.cfg.Lanes),
	}
}
