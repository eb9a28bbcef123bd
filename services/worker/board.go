package worker

import (
	"context"
	"slices"
	"sync"

	pb "neoteny/proto/neoteny/v1"
)

// trackKey names a line of a run's life.
type trackKey struct{ run, track string }

func keyOf(ref *pb.SegmentRef) trackKey {
	track := ref.GetTrack()
	if track == "" {
		track = "main"
	}
	return trackKey{ref.GetRun(), track}
}

// job is one segment on this worker.
type job struct {
	ref     *pb.SegmentRef
	start   *pb.BlobRef
	earlier *pb.Earlier // what start can be made again from
	// generation of the run: above 0 it was taken up again, and may have become longer.
	generation int32
	key        trackKey

	// ctx ends when the work is to be dropped; steps, which is part of it, also
	// when it is to stop and be saved.
	ctx    context.Context
	cancel context.CancelCauseFunc
	steps  context.Context
	stop   context.CancelCauseFunc
	ended  chan struct{}

	// pack names the jobs that were assigned together, for one slot; empty: none.
	pack string

	// Guarded by the board's mutex.
	assignment string
	attempt    int64
	orphan     bool  // its assignment went with a lost lease
	phase      phase // of a job in a slot
}

// phase is how far a job in a slot has come.
type phase int

const (
	living   phase = iota
	settling       // being committed: only the fence can stop it
	settled        // its end is decided: it cannot be adopted any more
)

// board holds the jobs that wait for a slot and those in slots, at most one of
// a track. A pack of jobs has one slot.
type board struct {
	mu      sync.Mutex
	wake    *sync.Cond
	waiting []*job
	slots   map[trackKey]*job
	closed  bool
}

func newBoard() *board {
	b := &board{slots: map[trackKey]*job{}}
	b.wake = sync.NewCond(&b.mu)
	return b
}

// add queues what was assigned together. Where a segment is being done here
// under the attempt before (its lease was lost meanwhile), that work goes on
// under the new attempt; any other job of its track is dropped.
func (b *board) add(ctx context.Context, assignments ...*pb.Assignment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	for _, a := range assignments {
		for _, s := range a.GetSegments() {
			b.queue(ctx, a, s)
		}
	}
	b.wake.Broadcast()
}

func (b *board) queue(ctx context.Context, a *pb.Assignment, s *pb.AssignedSegment) {
	key := keyOf(s.GetRef())
	same := func(j *job) bool {
		return j.ctx.Err() == nil && j.phase != settled && j.ref.GetFirstStep() == s.GetRef().GetFirstStep() &&
			j.ref.GetEndStep() == s.GetRef().GetEndStep()
	}
	if j := b.slots[key]; j != nil {
		// An attempt further on was of another worker in between.
		if same(j) && (s.GetAttempt() == j.attempt || s.GetAttempt() == j.attempt+1) {
			j.assignment, j.attempt, j.orphan = a.GetId(), s.GetAttempt(), false
			return
		}
		if j.phase == living {
			j.cancel(errWithdrawn)
		}
	}
	if i := slices.IndexFunc(b.waiting, func(j *job) bool { return j.key == key }); i >= 0 {
		if j := b.waiting[i]; same(j) && s.GetAttempt() == j.attempt {
			return // reported twice
		}
		b.drop(i)
	}
	j := &job{
		ref: s.GetRef(), start: s.GetStart(), earlier: s.GetEarlier(), generation: s.GetGeneration(), key: key, ended: make(chan struct{}),
		pack: a.GetPack(), assignment: a.GetId(), attempt: s.GetAttempt(),
	}
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	j.steps, j.stop = context.WithCancelCause(j.ctx)
	b.waiting = append(b.waiting, j)
}

// take waits for a job whose track is free, and puts it into a slot, together
// with all of its pack that wait and whose tracks are free; none means that the
// board was closed.
func (b *board) take() (jobs []*job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed {
		b.waiting = slices.DeleteFunc(b.waiting, func(j *job) bool {
			if b.slots[j.key] != nil || len(jobs) > 0 && (j.pack == "" || j.pack != jobs[0].pack) {
				return false
			}
			b.slots[j.key] = j
			jobs = append(jobs, j)
			return true
		})
		if len(jobs) > 0 {
			return jobs
		}
		b.wake.Wait()
	}
	return nil
}

// end frees the slot of a job.
func (b *board) end(j *job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.slots[j.key] == j {
		delete(b.slots, j.key)
	}
	j.cancel(nil)
	close(j.ended)
	b.wake.Broadcast()
}

// drop removes the i-th waiting job.
func (b *board) drop(i int) {
	j := b.waiting[i]
	b.waiting = slices.Delete(b.waiting, i, i+1)
	j.cancel(errWithdrawn)
	close(j.ended)
}

// held reports whether an assignment has a job that its withdrawal would stop in
// the middle.
func (b *board) held(assignment string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.slots {
		if j.assignment == assignment && !j.orphan && j.phase == living {
			return true
		}
	}
	return false
}

// withdraw drops the jobs of an assignment that are not being committed. It
// returns how many of them waited; those in slots end by themselves.
func (b *board) withdraw(assignment string) (waited int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.waiting) - 1; i >= 0; i-- {
		if b.waiting[i].assignment == assignment {
			b.drop(i)
			waited++
		}
	}
	for _, j := range b.slots {
		if j.assignment == assignment && !j.orphan && j.phase == living {
			j.cancel(errWithdrawn)
		}
	}
	return waited
}

// orphan takes note that all assignments are gone with their lease: the waiting
// jobs are dropped, those in slots become orphans. It returns the new ones.
func (b *board) orphan() (fresh []*job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.waiting) > 0 {
		b.drop(len(b.waiting) - 1)
	}
	for _, j := range b.slots {
		if !j.orphan {
			j.orphan = true
			fresh = append(fresh, j)
		}
	}
	return fresh
}

func (b *board) isOrphan(j *job) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return j.orphan
}

// attempt returns the attempt that a job is done under now.
func (b *board) attempt(j *job) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return j.attempt
}

// settle begins the commit of a job. It reports false where the job was
// withdrawn before.
func (b *board) settle(j *job) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if j.ctx.Err() != nil {
		return false
	}
	j.phase = settling
	return true
}

// decide makes the end of a job final, if its attempt is still the given one;
// a negative attempt stands for any. It returns the attempt.
func (b *board) decide(j *job, attempt int64) (now int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if attempt >= 0 && j.attempt != attempt {
		return j.attempt, false
	}
	j.phase = settled
	return j.attempt, true
}

// close lets no more jobs begin, stops those in slots at their next step and
// returns how many these are, and the jobs that waited. The caller ends the
// latter.
func (b *board) close() (waiting []*job, running int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	waiting, b.waiting = b.waiting, nil
	for _, j := range b.slots {
		j.stop(errDraining)
	}
	b.wake.Broadcast()
	return waiting, len(b.slots)
}
