package schedule

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/internal/cluster"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// large is an experiment of 10,000 runs and 100 workers: of five runs one is
// done, one is between two segments, and the others wait or are in work.
func large() (out []cluster.Change) {
	add := func(c cluster.Change) {
		c.Rev = cluster.Rev{Mod: 1, Create: 1}
		out = append(out, c)
	}
	now := timestamppb.New(start)
	for w := range 100 {
		id := fmt.Sprintf("w%02d", w)
		add(cluster.Change{Kind: cluster.KindWorker, Worker: id, Msg: &pb.Worker{Id: id, Slots: 4, NumericsVersion: 1, Lanes: 1}})
	}
	add(cluster.Change{Kind: cluster.KindExperiment, Experiment: "e", Msg: &pb.ExperimentRecord{
		Id: "e", Expanded: true, SegmentTasks: 2, Trials: 20, CreatedAt: now,
	}})
	for t := range 20 {
		trial := fmt.Sprintf("t-%d", t)
		add(cluster.Change{Kind: cluster.KindTrial, Experiment: "e", Trial: trial, Msg: &pb.TrialRecord{
			Index: int32(t), Name: trial, Arm: "a", CanonicalSpec: []byte(`{"a":1,"lr":0.1}`),
			Tasks: 4, StepsPerTask: 10, Seeds: &pb.Seeds{Count: 500},
		}})
		for seed := range 500 {
			run := experiment.RunID("e", trial, uint32(seed))
			i := t*500 + seed
			r := &pb.Run{
				Id: run, Experiment: "e", Arm: "a", Trial: trial, Seed: uint32(seed), NumericsVersion: 1,
				State: pb.RunState_RUN_STATE_PENDING, Steps: 40, Tasks: 4, Segments: 2,
			}
			ref := &pb.SegmentRef{Run: run, Track: mirror.MainTrack, EndStep: 20}
			g := &pb.Segment{Ref: ref, State: pb.SegmentState_SEGMENT_STATE_PENDING, QueuedAt: now}
			switch {
			case i%5 == 0:
				r.State = pb.RunState_RUN_STATE_DONE
			case i%5 == 1:
				g.State, g.Result = pb.SegmentState_SEGMENT_STATE_DONE, &pb.SegmentResult{EndStep: 20, Checkpoint: &pb.BlobRef{Key: "c"}}
			case i%5 == 2 && i < 500:
				g.State, g.Worker, g.Attempt = pb.SegmentState_SEGMENT_STATE_ASSIGNED, fmt.Sprintf("w%02d", i%100), 1
				id := cluster.AssignmentID(ref, 1)
				add(cluster.Change{Kind: cluster.KindAssignment, Worker: g.Worker, Assignment: id, Msg: &pb.Assignment{Id: id}})
			}
			add(cluster.Change{Kind: cluster.KindRun, Experiment: "e", Trial: trial, Run: run, Msg: r})
			if r.State == pb.RunState_RUN_STATE_PENDING {
				add(cluster.Change{Kind: cluster.KindSegment, Experiment: "e", Trial: trial, Run: run, Ref: ref, Msg: g})
			}
		}
	}
	return out
}

// start is when tests begin.
var start = time.Unix(1e9, 0)

var defaults = Config{NumericsVersion: 1, MaxFailures: 3, WorkerFailures: 3, WorkerPause: time.Minute, QueuePerSlot: 2}

// BenchmarkPass is one look at 10,000 runs and 100 workers.
func BenchmarkPass(b *testing.B) {
	s := Snapshot{State: mirror.NewState(), Now: start, Config: defaults}
	s.State.Apply(1, large(), start)
	b.ReportAllocs()
	for b.Loop() {
		u, a := s.Upkeep(), s.Assign()
		if len(u) != 2000 || len(a) != 320 {
			b.Fatal(len(u), len(a))
		}
	}
}

// BenchmarkMirror reads 10,000 runs.
func BenchmarkMirror(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		changes := large()
		b.StartTimer()
		mirror.NewState().Apply(1, changes, start)
	}
}
