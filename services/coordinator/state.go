package coordinator

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"time"

	"neoteny/internal/cluster"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// state mirrors etcd's records as of one revision, arranged for scheduling. It
// is changed by apply only, and everything in it is derived from the records
// (but for the workers' failures in a row, which a restart may forget).
type state struct {
	rev         int64
	experiments map[string]*exp
	workers     map[string]*worker
	// assigned holds the assignments that exist, by worker and id: the name of
	// the slot they take, which a pack's assignments share.
	assigned map[[2]string]string
	// taken counts the assignments in each slot, by worker and name.
	taken map[[2]string]int
	// health outlives a worker's registration: a bad machine comes back.
	health map[string]*health
}

func newState() *state {
	return &state{
		experiments: map[string]*exp{},
		workers:     map[string]*worker{},
		assigned:    map[[2]string]string{},
		taken:       map[[2]string]int{},
		health:      map[string]*health{},
	}
}

// exp is an experiment with what belongs to it. Records may arrive in any
// order; rec is nil until the experiment's own has.
type exp struct {
	id      string
	rec     *pb.ExperimentRecord
	mod     int64
	control pb.Desired
	trials  map[string]*trial
	byIndex []*trial // nil where the record is missing
	runs    map[string]*run
	active  map[string]*run // not ended

	ended  tally // of the runs that have ended
	most   int64 // seeds of the trial with the most
	cursor int64 // every run before this one in order has a record
	totals *tally
}

// tally adds up runs.
type tally struct {
	runs, done, failed, cancelled int
	confirmations                 int // of runs
	segments, steps, tasks        int64
	stepsDone, tasksDone          int64
	segmentsDone                  int64
	firstFailure                  string // run id
	failure                       string
	lacking                       int    // runs that are done but for measurements aside
	firstLacking, lack            string // the first of them, by id
}

func (t *tally) add(r *pb.Run, sign int) {
	n := int64(sign)
	t.runs += sign
	switch r.State {
	case pb.RunState_RUN_STATE_DONE:
		t.done += sign
		if r.Message != "" {
			t.lacking += sign
			if sign > 0 && (t.firstLacking == "" || r.Id < t.firstLacking) {
				t.firstLacking, t.lack = r.Id, r.Message
			}
		}
	case pb.RunState_RUN_STATE_FAILED:
		t.failed += sign
		if sign > 0 && (t.firstFailure == "" || r.Id < t.firstFailure) {
			t.firstFailure, t.failure = r.Id, r.Message
		}
	case pb.RunState_RUN_STATE_CANCELLED:
		t.cancelled += sign
	}
	if r.Confirmation {
		t.confirmations += sign
	}
	t.stepsDone += n * r.StepsDone
	t.tasksDone += n * int64(r.TasksDone)
	t.segmentsDone += n * segmentsDone(r)
}

// segmentsDone counts in the experiment's segment length, whatever yields and
// forks have cut, and what is measured aside besides.
func segmentsDone(r *pb.Run) int64 {
	if r.Tasks == 0 || r.TasksDone >= r.Tasks {
		return int64(r.Segments) + int64(r.AsidesDone)
	}
	return int64(r.TasksDone)*int64(r.Segments)/int64(r.Tasks) + int64(r.AsidesDone)
}

type trial struct {
	rec *pb.TrialRecord // without its canonical spec
	// form is what trials have in common whose runs can be a pack: see [formOf].
	form [sha256.Size]byte
	// asides are where its runs are measured aside, in all so many times.
	asides   experiment.Asides
	measured int
}

// formOf is equal for trials whose specs differ only in numbers that are no
// integers: those change what a program computes with, while integers give
// sizes. The engine has the last word on what is alike.
func formOf(canonicalSpec []byte) [sha256.Size]byte {
	d := json.NewDecoder(bytes.NewReader(canonicalSpec))
	d.UseNumber()
	h := sha256.New()
	for {
		token, err := d.Token()
		if err != nil {
			break
		}
		if n, ok := token.(json.Number); ok {
			if _, err := n.Int64(); err != nil {
				token = "a fraction"
			}
		}
		fmt.Fprintf(h, "%T %v\n", token, token)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (t *trial) seeds() seedSet { return seedSet{t.rec.Seeds} }

type run struct {
	id   string
	exp  *exp
	rec  *pb.Run
	rev  cluster.Rev
	segs []*segment // of the main track, by first step
	// asides are the segments that measure aside, each of a track of its own, by
	// first step.
	asides []*segment
	// pruned is the number of leading segments whose checkpoints are deleted.
	pruned int
}

type segment struct {
	run *run
	rec *pb.Segment
	mod int64
	// dropped: its checkpoint is deleted.
	dropped bool
}

type worker struct {
	rec  *pb.Worker
	rev  cluster.Rev
	busy int // slots that are taken
}

// health is the circuit breaker of a worker.
type health struct {
	row   int       // failures in a row
	until time.Time // out of service until then
}

func final(s pb.RunState) bool {
	switch s {
	case pb.RunState_RUN_STATE_DONE, pb.RunState_RUN_STATE_FAILED, pb.RunState_RUN_STATE_CANCELLED:
		return true
	}
	return false
}

func (s *state) exp(id string) *exp {
	e := s.experiments[id]
	if e == nil {
		e = &exp{id: id, trials: map[string]*trial{}, runs: map[string]*run{}, active: map[string]*run{}}
		s.experiments[id] = e
	}
	return e
}

func (e *exp) run(id string) *run {
	r := e.runs[id]
	if r == nil {
		r = &run{id: id, exp: e}
		e.runs[id] = r
	}
	return r
}

// seen is what apply noticed on the way, for metrics and the breakers.
type seen struct {
	commits, failures int
}

// apply brings the state to revision rev. The breaker trips a worker that
// failed row times in a row until now+pause.
func (s *state) apply(rev int64, changes []cluster.Change, now time.Time, row int, pause time.Duration) (n seen) {
	first := s.rev == 0
	s.rev = rev
	for _, c := range changes {
		switch c.Kind {
		case cluster.KindExperiment:
			e := s.exp(c.Experiment)
			e.rec, e.mod, e.totals = nil, c.Rev.Mod, nil
			if !c.Deleted {
				e.rec = c.Msg.(*pb.ExperimentRecord)
			}
		case cluster.KindControl:
			e := s.exp(c.Experiment)
			e.control = pb.Desired_DESIRED_UNSPECIFIED
			if !c.Deleted {
				e.control = c.Msg.(*pb.ControlRecord).Desired
			}
		case cluster.KindTrial:
			s.exp(c.Experiment).setTrial(c)
		case cluster.KindRun:
			s.exp(c.Experiment).setRun(c)
		case cluster.KindSegment:
			m := s.setSegment(c)
			if !first {
				n.commits += m.commits
				n.failures += m.failures
				s.judge(m, now, row, pause)
			}
		case cluster.KindWorker:
			if c.Deleted {
				delete(s.workers, c.Worker)
				break
			}
			w := s.workers[c.Worker]
			if w == nil {
				w = &worker{}
				s.workers[c.Worker] = w
				for k := range s.taken {
					if k[0] == c.Worker {
						w.busy++
					}
				}
			}
			w.rec, w.rev = c.Msg.(*pb.Worker), c.Rev
		case cluster.KindAssignment:
			s.setAssignment(c)
		}
		if e := s.experiments[c.Experiment]; e != nil && e.empty() {
			delete(s.experiments, c.Experiment)
		}
	}
	return n
}

func (s *state) setAssignment(c cluster.Change) {
	k := [2]string{c.Worker, c.Assignment}
	slot, known := s.assigned[k]
	if known == !c.Deleted {
		return
	}
	if !c.Deleted {
		if slot = c.Assignment; c.Msg.(*pb.Assignment).Pack != "" {
			slot = c.Msg.(*pb.Assignment).Pack
		}
		s.assigned[k] = slot
	} else {
		delete(s.assigned, k)
	}
	place, by := [2]string{c.Worker, slot}, 0
	switch n := s.taken[place]; {
	case c.Deleted && n == 1:
		delete(s.taken, place)
		by = -1
	case c.Deleted:
		s.taken[place]--
	default:
		s.taken[place]++
		if n == 0 {
			by = 1
		}
	}
	if w := s.workers[c.Worker]; w != nil {
		w.busy += by
	}
}

// slot names the place where an assigned segment is done.
func (s *state) slot(g *pb.Segment) (place [2]string, ok bool) {
	slot, ok := s.assigned[[2]string{g.Worker, cluster.AssignmentID(g.Ref, g.Attempt)}]
	return [2]string{g.Worker, slot}, ok
}

func (e *exp) empty() bool {
	return e.rec == nil && e.control == 0 && len(e.trials) == 0 && len(e.runs) == 0
}

func (e *exp) setTrial(c cluster.Change) {
	e.totals = nil
	if old := e.trials[c.Trial]; old != nil {
		if i := int(old.rec.Index); i < len(e.byIndex) && e.byIndex[i] == old {
			e.byIndex[i] = nil
		}
		delete(e.trials, c.Trial)
	}
	if c.Deleted {
		return
	}
	rec := c.Msg.(*pb.TrialRecord)
	form := formOf(rec.CanonicalSpec)
	rec.CanonicalSpec = nil // read when needed
	t := &trial{rec: rec, form: form, asides: experiment.Asides{Schedules: rec.Asides, Tasks: int64(rec.Tasks), StepsPerTask: rec.StepsPerTask}}
	t.measured = int(t.asides.Count())
	e.trials[c.Trial] = t
	for int(rec.Index) >= len(e.byIndex) {
		e.byIndex = append(e.byIndex, nil)
	}
	e.byIndex[rec.Index] = t
	e.most = max(e.most, int64(t.seeds().len()))
}

func (e *exp) setRun(c cluster.Change) {
	r := e.run(c.Run)
	if r.rec != nil && final(r.rec.State) {
		e.ended.add(r.rec, -1)
	}
	delete(e.active, c.Run)
	if c.Deleted {
		r.rec = nil
		if len(r.segs)+len(r.asides) == 0 {
			delete(e.runs, c.Run)
		}
		if e.cursor > 0 {
			e.cursor = 0 // the next look finds the place again
		}
		return
	}
	r.rec, r.rev = c.Msg.(*pb.Run), c.Rev
	if final(r.rec.State) {
		e.ended.add(r.rec, 1)
	} else {
		e.active[c.Run] = r
	}
}

// moved is what became of a segment.
type moved struct {
	commits, failures int
	good, bad         string // worker that committed; that failed by its own fault
}

func (s *state) setSegment(c cluster.Change) (m moved) {
	main := c.Ref.Track == cluster.MainTrack
	if !main && !cluster.IsAside(c.Ref.Track) {
		return m
	}
	e := s.exp(c.Experiment)
	r := e.run(c.Run)
	segs := &r.segs
	if !main {
		segs = &r.asides
	}
	i, found := find(*segs, c.Ref.FirstStep)
	if c.Deleted {
		if found {
			*segs = slices.Delete(*segs, i, i+1)
		}
		if len(r.segs)+len(r.asides) == 0 && r.rec == nil {
			delete(e.runs, c.Run)
		}
		return m
	}
	rec := c.Msg.(*pb.Segment)
	if !found {
		*segs = slices.Insert(*segs, i, &segment{run: r, rec: rec, mod: c.Rev.Mod})
		return m
	}
	g := (*segs)[i]
	old := g.rec
	g.rec, g.mod = rec, c.Rev.Mod
	if done := pb.SegmentState_SEGMENT_STATE_DONE; rec.State == done && old.State != done {
		m.commits, m.good = 1, rec.Worker
	}
	if k := len(rec.Failures) - len(old.Failures); k > 0 {
		m.failures = k
		if f := rec.Failures[len(rec.Failures)-1]; !f.Permanent {
			m.bad = f.Worker
		}
	}
	return m
}

// find returns the place of the segment that begins at a step.
func find(segs []*segment, first int64) (int, bool) {
	return slices.BinarySearchFunc(segs, first, func(g *segment, first int64) int {
		return cmp.Compare(g.rec.Ref.FirstStep, first)
	})
}

// judge moves the circuit breakers.
func (s *state) judge(m moved, now time.Time, row int, pause time.Duration) {
	if m.good != "" {
		delete(s.health, m.good)
	}
	if m.bad == "" {
		return
	}
	h := s.health[m.bad]
	if h == nil {
		h = &health{}
		s.health[m.bad] = h
	}
	h.row++
	if h.row >= row {
		h.until = now.Add(pause)
		h.row = row - 1 // back on trial: the next failure puts it out again
	}
}

func (s *state) outOfService(id string, now time.Time) bool {
	h := s.health[id]
	return h != nil && now.Before(h.until)
}

// last is the main track's latest segment: the only one of it that may be open.
func (r *run) last() *segment {
	if len(r.segs) == 0 {
		return nil
	}
	return r.segs[len(r.segs)-1]
}

// trouble is the last error of a segment, or its state where it has none.
func (g *segment) trouble() string {
	if n := len(g.rec.Failures); n > 0 {
		return g.rec.Failures[n-1].Error
	}
	return "segment is " + g.rec.State.String()
}

// going are the segments of a run that may be open: the main track's last, and
// those that measure aside.
func (r *run) going() iter.Seq[*segment] {
	return func(yield func(*segment) bool) {
		if g := r.last(); g != nil && !yield(g) {
			return
		}
		for _, g := range r.asides {
			if !yield(g) {
				return
			}
		}
	}
}

// live tells whether there may be something to do about the experiment.
func (e *exp) live() bool {
	return e.rec != nil && (e.rec.State == 0 || e.control == pb.Desired_DESIRED_DELETE || len(e.active) > 0)
}

// confirmed lists the trials that get confirmation runs, once they are selected:
// the selected ones, the analyses, and those whose artifacts they start from.
func (e *exp) confirmed() []*trial {
	if !e.rec.SelectionDone || e.confirmSeeds().len() == 0 {
		return nil
	}
	var out []*trial
	var add func(name string)
	add = func(name string) {
		t := e.trials[name]
		if t == nil || slices.Contains(out, t) {
			return
		}
		out = append(out, t)
		for _, n := range t.rec.Needs {
			if n.Seed == nil {
				add(n.Trial)
			}
		}
	}
	for _, name := range e.rec.Selected {
		add(name)
	}
	for _, t := range e.byIndex {
		if t != nil && t.rec.Analysis {
			add(t.rec.Name)
		}
	}
	slices.SortFunc(out, func(a, b *trial) int { return cmp.Compare(a.rec.Index, b.rec.Index) })
	return out
}

func (e *exp) confirmSeeds() seedSet { return seedSet{e.rec.GetConfirmSeeds()} }

// confirmSeedsOf are those of one trial: of an analysis with one run for all
// seeds the first.
func (e *exp) confirmSeedsOf(t *trial) seedSet {
	if s := e.confirmSeeds(); !t.rec.Once || s.len() == 0 {
		return s
	} else {
		return seedSet{&pb.Seeds{First: s.at(0), Count: 1}}
	}
}

// want is a run that the experiment is to have.
type want struct {
	trial        *trial
	seed         uint32
	confirmation bool
}

func (w want) id(e *exp) string { return experiment.RunID(e.id, w.trial.rec.Name, w.seed) }

// at returns the run at a place of the experiment's order: all trials with
// their first seed, then with their second, and so on, so that arms can be
// compared early; then confirmations in the same way. skip: no run there, go
// on; end: no more.
func (e *exp) at(seq int64) (w want, skip, end bool) {
	n := int64(len(e.byIndex))
	if n == 0 {
		return w, false, true
	}
	if tuning := n * e.most; seq < tuning {
		t, k := e.byIndex[seq%n], int(seq/n)
		if t == nil || k >= t.seeds().len() {
			return w, true, false
		}
		return want{t, t.seeds().at(k), false}, false, false
	} else {
		arms := e.confirmed()
		seeds := e.confirmSeeds()
		i := seq - tuning
		if len(arms) == 0 || i >= int64(len(arms)*seeds.len()) {
			return w, false, true
		}
		m := int64(len(arms))
		if t := arms[i%m]; int(i/m) < e.confirmSeedsOf(t).len() {
			return want{t, seeds.at(int(i / m)), true}, false, false
		}
		return w, true, false
	}
}

// place is where a run stands in the experiment's order, for comparing.
func (e *exp) place(r *run) int64 {
	t := e.trials[r.rec.GetTrial()]
	if t == nil {
		return 0
	}
	n := int64(len(e.byIndex))
	if r.rec.Confirmation {
		return n*e.most + int64(e.confirmSeeds().index(r.rec.Seed))*n + int64(t.rec.Index)
	}
	return int64(t.seeds().index(r.rec.Seed))*n + int64(t.rec.Index)
}

// sum returns the totals of all runs that the experiment is to have. Before
// trials are selected, confirmations count as the largest trial of each arm.
func (e *exp) sum() tally {
	if e.totals != nil {
		return *e.totals
	}
	var t tally
	if e.rec == nil || !e.rec.Expanded {
		return t
	}
	type cost struct{ segments, steps, tasks int64 }
	costOf := func(r *pb.TrialRecord) cost {
		n := segmentCount(r.Tasks, e.rec.SegmentTasks)
		if t := e.trials[r.Name]; t != nil {
			n += int32(t.measured)
		}
		return cost{int64(n), int64(r.Tasks) * r.StepsPerTask, int64(r.Tasks)}
	}
	addN := func(c cost, n int) {
		t.runs += n
		t.segments += c.segments * int64(n)
		t.steps += c.steps * int64(n)
		t.tasks += c.tasks * int64(n)
	}
	largest := map[string]cost{}
	for _, tr := range e.trials {
		c := costOf(tr.rec)
		addN(c, tr.seeds().len())
		if c.steps >= largest[tr.rec.Arm].steps {
			largest[tr.rec.Arm] = c
		}
	}
	switch n := e.confirmSeeds().len(); {
	case n == 0:
	case e.rec.SelectionDone:
		for _, tr := range e.confirmed() {
			n := e.confirmSeedsOf(tr).len()
			addN(costOf(tr.rec), n)
			t.confirmations += n
		}
	default:
		for _, c := range largest {
			addN(c, n)
			t.confirmations += n
		}
	}
	e.totals = &t
	return t
}

func segmentCount(tasks, per int32) int32 {
	if per <= 0 {
		return 0
	}
	return (tasks + per - 1) / per
}
