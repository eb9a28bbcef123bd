package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/seeds"
)

// sim is a cluster that is a mirror alone: every write is applied to it at once,
// as etcd would report it.
type sim struct {
	t     *testing.T
	state *mirror.State
	rev   int64
	now   time.Time
	cfg   Config
	// assigned are the assignments that exist, by worker and id.
	assigned map[[2]string]bool
	trials   map[string][]*pb.TrialRecord // by experiment, to be expanded to
}

func newSim(t *testing.T) *sim {
	s := &sim{t: t, state: mirror.NewState(), now: start, cfg: defaults, assigned: map[[2]string]bool{}, trials: map[string][]*pb.TrialRecord{}}
	s.apply() // nothing is there to begin with
	return s
}

func (s *sim) snapshot() Snapshot { return Snapshot{State: s.state, Now: s.now, Config: s.cfg} }

// apply writes records in one transaction.
func (s *sim) apply(changes ...cluster.Change) {
	s.rev++
	for i := range changes {
		c := &changes[i]
		c.Rev = cluster.Rev{Mod: s.rev, Create: s.rev}
		if c.Kind == cluster.KindAssignment {
			if id := [2]string{c.Worker, c.Assignment}; c.Deleted {
				delete(s.assigned, id)
			} else {
				s.assigned[id] = true
			}
		}
	}
	s.state.Apply(s.rev, changes, s.now)
}

func (s *sim) configure(args []string) {
	o := options(args)
	s.cfg.NumericsVersion = int32(s.number(o["numerics"], int64(s.cfg.NumericsVersion)))
	s.cfg.MaxFailures = int(s.number(o["max-failures"], int64(s.cfg.MaxFailures)))
	s.cfg.WorkerFailures = int(s.number(o["worker-failures"], int64(s.cfg.WorkerFailures)))
	if o["retry-pause"] != "" {
		var err error
		s.cfg.RetryPause, err = time.ParseDuration(o["retry-pause"])
		require.NoError(s.t, err)
	}
	s.cfg.QueuePerSlot = int(s.number(o["queue-per-slot"], int64(s.cfg.QueuePerSlot)))
}

func (s *sim) register(words []string) {
	o := options(words[1:])
	w := &pb.Worker{
		Id: words[0], Slots: int32(s.number(o["slots"], 1)), Lanes: int32(s.number(o["lanes"], 1)),
		NumericsVersion: int32(s.number(o["numerics"], 1)), Problem: strings.ReplaceAll(o["problem"], "_", " "), DataFolder: o["data"],
	}
	_, w.Draining = o["draining"]
	if o["lacks"] != "" {
		w.MissingDatasets = strings.Split(o["lacks"], ",")
	}
	s.apply(cluster.Change{Kind: cluster.KindWorker, Worker: w.Id, Msg: w})
}

// lose ends a worker's lease: its registration and its assignments go.
func (s *sim) lose(id string) {
	changes := []cluster.Change{{Kind: cluster.KindWorker, Worker: id, Deleted: true}}
	for _, a := range slices.Collect(maps.Keys(s.assigned)) {
		if a[0] == id {
			changes = append(changes, cluster.Change{Kind: cluster.KindAssignment, Worker: id, Assignment: a[1], Deleted: true})
		}
	}
	s.apply(changes...)
}

func (s *sim) control(id, what string) {
	want := map[string]pb.Desired{"cancel": pb.Desired_DESIRED_CANCEL, "delete": pb.Desired_DESIRED_DELETE}[what]
	s.apply(cluster.Change{Kind: cluster.KindControl, Experiment: id, Msg: &pb.ControlRecord{Desired: want}})
}

// retry takes an experiment up again that has ended, as the API does.
func (s *sim) retry(id string, runs []string) {
	rec := proto.CloneOf(s.state.Experiments[id].Rec)
	rec.State, rec.Message, rec.EndedAt = 0, "", nil
	rec.Generation++
	rec.Again = runs
	s.apply(cluster.Change{Kind: cluster.KindControl, Experiment: id, Deleted: true}, cluster.Change{Kind: cluster.KindExperiment, Experiment: id, Msg: rec})
}

func (s *sim) seeds(list string) []uint32 {
	var out []uint32
	for _, w := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		out = append(out, uint32(s.number(w, 0)))
	}
	return out
}

// submit writes an experiment; each line of input is a trial. Tasks have 10
// steps. An experiment is a second younger than the one before.
func (s *sim) submit(args, input []string) []string {
	id, o := args[0], options(args[1:])
	s.now = s.now.Add(time.Second)
	rec := &pb.ExperimentRecord{Id: id, CreatedAt: timestamppb.New(s.now), SegmentTasks: int32(s.number(o["segment"], 1))}
	if confirm := s.seeds(o["confirm"]); confirm != nil {
		rec.ConfirmSeeds = seeds.Pack(confirm)
	}
	for i, line := range input {
		words := strings.Fields(line)
		s.trials[id] = append(s.trials[id], s.trial(int32(i), words[0], options(words[1:])))
	}
	s.apply(cluster.Change{Kind: cluster.KindExperiment, Experiment: id, Msg: rec})
	if _, only := o["submitted"]; only {
		return nil
	}
	s.do(Expand{Experiment: proto.CloneOf(rec)})
	t := s.state.Experiments[id].Sum()
	return []string{fmt.Sprintf("%d runs, %d segments, %d steps", t.Runs, t.Segments, t.Steps)}
}

func (s *sim) trial(index int32, name string, o map[string]string) *pb.TrialRecord {
	tr := &pb.TrialRecord{
		Index: index, Name: name, Arm: strings.TrimRight(name, "0123456789"), Tasks: int32(s.number(o["tasks"], 1)), StepsPerTask: 10,
		Seeds: seeds.Pack(s.seeds(o["seeds"])), Pack: int32(s.number(o["pack"], 1)), CanonicalSpec: []byte(o["spec"]),
	}
	_, tr.Analysis = o["analysis"]
	_, tr.Once = o["once"]
	for _, need := range strings.FieldsFunc(o["needs"], func(r rune) bool { return r == ',' }) {
		artifact, from, _ := strings.Cut(need, "@")
		tr.Needs = append(tr.Needs, &pb.TrialNeed{Name: "from", Artifact: artifact, Trial: from, AllSeeds: tr.Once})
	}
	if o["publishes"] != "" {
		tr.Publishes = strings.Split(o["publishes"], ",")
	}
	if o["reads"] != "" {
		tr.Datasets = strings.Split(o["reads"], ",")
	}
	if every := s.number(o["deferred"], 0); every > 0 {
		tr.Asides = []*pb.AsideSchedule{{Every: int32(every)}}
	}
	return tr
}

// segment finds one by its name in scripts.
func (s *sim) segment(name string) *pb.Segment {
	run, at, deferred := strings.Cut(name, "@")
	experiment, _, _ := strings.Cut(run, "/")
	e := s.state.Experiments[experiment]
	require.NotNil(s.t, e, "no experiment of %s", name)
	r := e.Runs[run]
	require.NotNil(s.t, r, "no run of %s", name)
	g := r.Last()
	if deferred {
		g = r.DeferredAt(s.number(at, 0))
	}
	require.NotNil(s.t, g, "no segment %s", name)
	return proto.CloneOf(g.Rec)
}

// name is the inverse of segment, with the steps.
func name(ref *pb.SegmentRef) string {
	if ref.Track != mirror.MainTrack {
		return fmt.Sprintf("%s@%d", ref.Run, ref.FirstStep)
	}
	return ref.Run + steps(ref)
}

func steps(ref *pb.SegmentRef) string { return fmt.Sprintf(" [%d, %d)", ref.FirstStep, ref.EndStep) }

func checkpoint(run string, step int64) *pb.BlobRef {
	return &pb.BlobRef{Key: fmt.Sprintf("%s at %d", run, step)}
}

// work does with an assigned segment what a worker does.
func (s *sim) work(what string, words []string) (problem string) {
	g := s.segment(words[0])
	// One that was lost may commit until the segment is given to another.
	late := what == "commit" && g.State == pb.SegmentState_SEGMENT_STATE_PENDING && g.Attempt > 0
	if g.State != pb.SegmentState_SEGMENT_STATE_ASSIGNED && !late {
		return words[0] + " is not in work"
	}
	changes := []cluster.Change{{
		Kind: cluster.KindAssignment, Worker: g.Worker, Assignment: cluster.AssignmentID(g.Ref, g.Attempt), Deleted: true,
	}}
	switch what {
	case "commit", "yield":
		end := g.Ref.EndStep
		if what == "yield" {
			end = s.number(words[1], 0)
		}
		g.State, g.Result = pb.SegmentState_SEGMENT_STATE_DONE, &pb.SegmentResult{EndStep: end, Checkpoint: checkpoint(g.Ref.Run, end)}
		s.publish(g)
		if end < g.Ref.EndStep {
			rest := &pb.Segment{
				Ref:     &pb.SegmentRef{Run: g.Ref.Run, Track: g.Ref.Track, FirstStep: end, EndStep: g.Ref.EndStep},
				Attempt: g.Attempt, State: pb.SegmentState_SEGMENT_STATE_PENDING, Start: g.Result.Checkpoint,
			}
			changes = append(changes, segmentChange(rest))
		}
	case "diverge":
		end := s.number(words[1], 0)
		g.State, g.Result = pb.SegmentState_SEGMENT_STATE_DONE, &pb.SegmentResult{
			EndStep: end, Divergence: &pb.Divergence{Step: end, Task: int32(end / 10), Layer: "output", What: "the loss is NaN"},
		}
	case "fail":
		f := &pb.SegmentFailure{Attempt: g.Attempt, Worker: g.Worker}
		g.State = pb.SegmentState_SEGMENT_STATE_PENDING
		if words[1] == "permanent" {
			f.Permanent = true
			g.State = pb.SegmentState_SEGMENT_STATE_FAILED
			words = words[1:]
		}
		f.Error = strings.Join(words[1:], " ")
		g.Failures = append(g.Failures, f)
	case "release":
		g.State = pb.SegmentState_SEGMENT_STATE_PENDING
	}
	s.apply(append(changes, segmentChange(g))...)
	return ""
}

// publish adds the artifacts of a run that is done with its last step.
func (s *sim) publish(g *pb.Segment) {
	experiment, trial, _, err := cluster.SplitRun(g.Ref.Run)
	require.NoError(s.t, err)
	e := s.state.Experiments[experiment]
	if g.Ref.Track != mirror.MainTrack || g.Result.EndStep < e.Runs[g.Ref.Run].Rec.Steps {
		return
	}
	g.Result.Artifacts = map[string]*pb.BlobRef{}
	for _, name := range e.Trials[trial].Rec.Publishes {
		g.Result.Artifacts[name] = &pb.BlobRef{Key: name + " of " + g.Ref.Run}
	}
}

func segmentChange(g *pb.Segment) cluster.Change {
	experiment, trial, _, _ := cluster.SplitRun(g.Ref.Run)
	return cluster.Change{Kind: cluster.KindSegment, Experiment: experiment, Trial: trial, Run: g.Ref.Run, Ref: g.Ref, Msg: g}
}

func runChange(r *pb.Run) cluster.Change {
	return cluster.Change{Kind: cluster.KindRun, Experiment: r.Experiment, Trial: r.Trial, Run: r.Id, Msg: r}
}

// do carries out an action, as the transactions of internal/cluster would.
func (s *sim) do(a Action) {
	switch a := a.(type) {
	case Expand:
		rec := proto.CloneOf(a.Experiment)
		rec.Expanded = true
		var changes []cluster.Change
		for _, tr := range s.trials[rec.Id] {
			changes = append(changes, cluster.Change{Kind: cluster.KindTrial, Experiment: rec.Id, Trial: tr.Name, Msg: tr})
		}
		s.apply(append(changes, cluster.Change{Kind: cluster.KindExperiment, Experiment: rec.Id, Msg: rec})...)
	case CreateRuns:
		for _, r := range a.Runs {
			changes := []cluster.Change{runChange(r.Run)}
			if r.Segment != nil {
				r.Run.RunKey = "key of " + r.Run.Id
				changes = append(changes, segmentChange(r.Segment))
			}
			s.apply(changes...)
		}
	case Continue:
		s.apply(segmentChange(a.Next))
	case Fork:
		s.apply(segmentChange(a.Segment))
	case Assign:
		s.assign(a)
	case Requeue:
		g := proto.CloneOf(a.Segment)
		g.State = pb.SegmentState_SEGMENT_STATE_PENDING
		s.apply(segmentChange(g))
	case EndRun:
		s.endRun(a)
	case Restart:
		a.First.Attempt = a.Run.Committed.Attempt
		if c := a.Run.Committed; a.GoOn {
			a.First.Ref.EndStep, a.First.State = c.Step, pb.SegmentState_SEGMENT_STATE_DONE
			a.First.Result = &pb.SegmentResult{EndStep: c.Step, Checkpoint: c.Checkpoint}
		}
		a.Run.State, a.Run.Message, a.Run.Generation = pb.RunState_RUN_STATE_PENDING, "", a.To
		s.apply(runChange(a.Run), segmentChange(a.First))
	case Forget:
		c := runChange(a.Run)
		c.Msg, c.Deleted = nil, true
		s.apply(c)
	case DeleteCheckpoints:
		var firstSteps []int64
		for _, g := range a.Segments {
			firstSteps = append(firstSteps, g.Ref.FirstStep)
		}
		s.state.CheckpointsDeleted(a.Experiment, a.Run, firstSteps)
	case SelectTrials:
		rec := proto.CloneOf(a.Experiment)
		rec.SelectionDone, rec.Selected = true, map[string]string{}
		for _, r := range slices.Backward(a.Runs) { // of each arm the first
			rec.Selected[r.Arm] = r.Trial
		}
		s.apply(cluster.Change{Kind: cluster.KindExperiment, Experiment: rec.Id, Msg: rec})
	case EndExperiment:
		s.apply(cluster.Change{Kind: cluster.KindExperiment, Experiment: a.Experiment.Id, Msg: a.Experiment})
	case DeleteExperiment:
		id := a.Experiment.Id
		changes := []cluster.Change{{Kind: cluster.KindExperiment, Experiment: id, Deleted: true}, {Kind: cluster.KindControl, Experiment: id, Deleted: true}}
		e := s.state.Experiments[id]
		for name := range e.Trials {
			changes = append(changes, cluster.Change{Kind: cluster.KindTrial, Experiment: id, Trial: name, Deleted: true})
		}
		for run := range e.Runs {
			changes = append(changes, cluster.Change{Kind: cluster.KindRun, Experiment: id, Run: run, Deleted: true})
		}
		s.apply(changes...)
	default:
		s.t.Fatalf("unknown action %T", a)
	}
}

func (s *sim) assign(a Assign) {
	var changes []cluster.Change
	pack := ""
	if len(a.Segments) > 1 {
		pack = cluster.AssignmentID(a.Segments[0].Segment.Ref, a.Segments[0].Segment.Attempt+1)
	}
	for _, x := range a.Segments {
		g := proto.CloneOf(x.Segment)
		g.Attempt++
		g.State, g.Worker = pb.SegmentState_SEGMENT_STATE_ASSIGNED, a.Worker
		id := cluster.AssignmentID(g.Ref, g.Attempt)
		changes = append(changes, segmentChange(g),
			cluster.Change{Kind: cluster.KindAssignment, Worker: a.Worker, Assignment: id, Msg: &pb.Assignment{Id: id, Pack: pack}})
	}
	s.apply(changes...)
}

func (s *sim) endRun(a EndRun) {
	mirror.FillProgress(a.Run, a.Segments, a.Deferred)
	a.Run.Table = &pb.BlobRef{Key: "table of " + a.Run.Id}
	changes := []cluster.Change{runChange(a.Run)}
	for _, x := range slices.Concat(a.Segments, a.Deferred) {
		c := segmentChange(x.Segment)
		c.Msg, c.Deleted = nil, true
		changes = append(changes, c)
	}
	for _, x := range a.Open {
		if g := x.Segment; g.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED {
			changes = append(changes, cluster.Change{
				Kind: cluster.KindAssignment, Worker: g.Worker, Assignment: cluster.AssignmentID(g.Ref, g.Attempt), Deleted: true,
			})
		}
	}
	s.apply(changes...)
}
