package schedule

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// deferredPerSlot is how many measurements of an experiment may wait for each
// slot before they go ahead of runs that are yet to begin.
const deferredPerSlot = 4

// free is a worker with slots left while assignments are decided.
type free struct {
	id    string
	w     *mirror.Worker
	slots int
}

// queue is what an experiment has to give.
type queue struct {
	e       *mirror.Experiment
	running int // slots that work on it
	pending []*mirror.Segment
	// coming are runs that can be packed and are between two segments: form and
	// step of the segments that are about to be queued.
	coming map[lockstep]bool
}

// lockstep is what segments have in common that can be done as a pack.
type lockstep struct {
	form       [sha256.Size]byte // of the trial
	numerics   int32
	first, end int64 // of those that are coming only first
}

// Assign decides which pending segments go to which workers.
func (s Snapshot) Assign() []Action {
	// Workers that take work; with a slot left or not, for "no other can".
	var ws []*free
	slots, all := 0, 0
	for _, id := range slices.Sorted(maps.Keys(s.State.Workers)) {
		w := s.State.Workers[id]
		if w.Rec.Draining || w.Rec.Problem != "" || s.OutOfService(id) {
			continue
		}
		f := &free{id, w, max(0, int(w.Rec.Slots)-w.Busy)}
		ws = append(ws, f)
		slots += f.slots
		all += int(w.Rec.Slots)
	}
	if slots == 0 {
		return nil
	}

	var qs []*queue
	open := 0
	for _, e := range s.State.Experiments {
		if e.Rec == nil || e.Rec.State != 0 || e.Control != 0 {
			continue
		}
		q, n := s.queue(e, all)
		open += n
		if len(q.pending) > 0 {
			qs = append(qs, q)
		}
	}
	// What is in work or waits, evenly over all slots: more than this share for
	// one slot would leave another without work.
	share := (open + all - 1) / all

	var out []Action
	for len(qs) > 0 && slots > 0 {
		q := slices.MinFunc(qs, func(a, b *queue) int {
			return cmp.Or(cmp.Compare(a.running, b.running),
				a.e.Rec.CreatedAt.AsTime().Compare(b.e.Rec.CreatedAt.AsTime()), cmp.Compare(a.e.ID, b.e.ID))
		})
		g := q.pending[0]
		q.pending = q.pending[1:]
		if to := choose(g, ws); to != nil && !q.waits(g) {
			to.slots--
			slots--
			q.running++
			segs := q.pack(g, min(share, to.w.Lanes()))
			out = append(out, Assign{Segments: mirror.At(segs), Worker: to.id, Rev: to.w.Rev, At: s.Now})
		}
		if len(q.pending) == 0 {
			qs = slices.DeleteFunc(qs, func(x *queue) bool { return x == q })
		}
	}
	return out
}

// queue lists what of an experiment is pending, and counts its open segments.
func (s Snapshot) queue(e *mirror.Experiment, slots int) (q *queue, open int) {
	deferred := 0
	q = &queue{e: e, coming: map[lockstep]bool{}}
	places := map[mirror.Slot]bool{}
	for _, r := range e.Active {
		for g := range r.Going() {
			switch {
			case g.Assigned():
				open++
				if at, ok := s.State.SlotOf(g); ok {
					places[at] = true
				}
			case g.Pending() && !s.settled(g) && s.pause(g) <= 0:
				open++
				if g.IsDeferred() {
					deferred++
				}
				q.pending = append(q.pending, g)
			case g.Done() && !g.IsDeferred() && !r.Trained() && r.Trial().Pack() > 1:
				q.coming[lockstep{r.Trial().Form, r.Rec.NumericsVersion, g.Rec.Result.GetEndStep(), 0}] = true
			}
		}
	}
	q.running = len(places)
	// Training goes first: deferred measurements are for workers that it leaves
	// idle. Where many of them wait, and checkpoints with them, no more runs
	// begin before.
	rank := func(g *mirror.Segment) int {
		switch {
		case g.IsDeferred():
			return 1
		case g.Rec.Ref.FirstStep == 0 && deferred > slots*deferredPerSlot:
			return 2
		}
		return 0
	}
	slices.SortFunc(q.pending, func(a, b *mirror.Segment) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(e.Place(a.Run.Rec), e.Place(b.Run.Rec)),
			cmp.Compare(a.Run.ID, b.Run.ID), cmp.Compare(a.Rec.Ref.FirstStep, b.Rec.Ref.FirstStep))
	})
	return q, open
}

// lockstepOf says what a segment can be packed with. One that has failed goes
// alone, so that what fails is found and takes no other along.
func lockstepOf(g *mirror.Segment) (k lockstep, ok bool) {
	t := g.Run.Trial()
	if t == nil {
		return lockstep{}, false
	}
	k = lockstep{t.Form, g.Run.Rec.NumericsVersion, g.Rec.Ref.FirstStep, g.Rec.Ref.EndStep}
	return k, t.Pack() > 1 && len(g.Rec.Failures) == 0 && !g.IsDeferred()
}

// waits reports whether a segment is to be given in a moment, with others that
// are about to be queued: they were its pack in the segment before, whose
// commits come one by one. A run passes each step once, so this ends.
func (q *queue) waits(g *mirror.Segment) bool {
	k, ok := lockstepOf(g)
	k.end = 0
	return ok && q.coming[k]
}

// pack takes up to n segments from the queue that can be done in lockstep, with
// g, which has been taken, as the first.
func (q *queue) pack(g *mirror.Segment, n int) []*mirror.Segment {
	out := []*mirror.Segment{g}
	k, ok := lockstepOf(g)
	if n = min(n, g.Run.Trial().Pack()); !ok || n < 2 {
		return out
	}
	q.pending = slices.DeleteFunc(q.pending, func(x *mirror.Segment) bool {
		other, ok := lockstepOf(x)
		if !ok || other != k || len(out) >= n {
			return false
		}
		out = append(out, x)
		return true
	})
	return out
}

// lacking returns the datasets of those needed that a worker does not have.
func lacking(w *pb.Worker, need []string) (out []string) {
	for _, name := range need {
		if slices.Contains(w.MissingDatasets, name) {
			out = append(out, name)
		}
	}
	return out
}

// choose picks the worker for a segment: of its numerics version and with its
// datasets, not one that has failed it unless there is no other. Best is the one
// that has just done the run's previous segment, then the one with the most free
// slots.
func choose(g *mirror.Segment, ws []*free) *free {
	failed := func(id string) bool {
		return slices.ContainsFunc(g.Rec.Failures, func(f *pb.SegmentFailure) bool { return f.Worker == id })
	}
	need := g.Run.Datasets()
	able := func(f *free) bool {
		return f.w.Rec.NumericsVersion == g.Run.Rec.NumericsVersion && len(lacking(f.w.Rec, need)) == 0
	}
	fresh := slices.ContainsFunc(ws, func(f *free) bool { return able(f) && !failed(f.id) })
	warm := ""
	if n := len(g.Run.Segments); n > 1 && !g.IsDeferred() {
		warm = g.Run.Segments[n-2].Rec.Worker
	}
	var best *free
	for _, f := range ws {
		if f.slots == 0 || !able(f) || fresh && failed(f.id) {
			continue
		}
		if f.id == warm {
			return f
		}
		if best == nil || f.slots > best.slots {
			best = f
		}
	}
	return best
}
