package schedule

import (
	"time"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// Action is something that is to be done. It is one of the types below, and
// holds what it needs of the records as they were decided on, with their
// revisions: those it shares with the mirror must not be changed.
type Action interface {
	// Key names the action among all that may be due at a time.
	Key() Key
}

// Key says what is to be done, and to what.
type Key struct{ What, ID string }

// Expand writes the trials of an experiment that was submitted.
type Expand struct {
	Experiment *pb.ExperimentRecord
	Mod        int64
}

// CreateRuns begins runs of an experiment whose record is at revision Mod.
type CreateRuns struct {
	Experiment string
	Mod        int64
	Runs       []NewRun
}

// NewRun is a run without its key, which needs the trial's spec, and its first
// segment; without a segment it has failed before it began.
type NewRun struct {
	Run     *pb.Run
	Segment *pb.Segment
}

// Continue queues the segment after Prev, which is done and at revision Mod.
type Continue struct {
	Prev *pb.Segment
	Mod  int64
	Next *pb.Segment
}

// Fork queues a deferred measurement of a run whose record is at revision Mod.
type Fork struct {
	Mod     int64
	Segment *pb.Segment
}

// Assign gives segments to a worker, for one of its slots.
type Assign struct {
	Segments []mirror.SegmentAt
	Worker   string
	Rev      mirror.Rev // of its registration
	At       time.Time
}

// Requeue takes a segment back from a worker that is gone.
type Requeue struct {
	Segment *pb.Segment
	Mod     int64
}

// EndRun puts together what a run has committed, and writes its final record.
type EndRun struct {
	Run      *pb.Run // a copy with its state and message
	Mod      int64
	Segments []mirror.SegmentAt // of the main track
	Deferred []mirror.SegmentAt
	Open     []mirror.SegmentAt // those of both that may still change
	Pruned   int                // leading segments whose checkpoints are deleted
}

// Restart takes a run up again that has ended, whose record is at revision Mod.
type Restart struct {
	Run   *pb.Run // a copy of its record
	Mod   int64
	First *pb.Segment // as a new run's
	GoOn  bool        // from where it is committed, where that is at hand
	To    int32       // generation that it belongs to from now on
	// Steps, segments and deferred measurements that it is to have: its trial may have
	// become longer.
	Steps         int64
	Count, Asides int32
}

// Forget deletes the record, at revision Mod, of a run that ended before it began, so
// that it can begin.
type Forget struct {
	Run *pb.Run
	Mod int64
}

// DeleteCheckpoints deletes the checkpoints of a run's segments.
type DeleteCheckpoints struct {
	Experiment, Run string
	Segments        []*pb.Segment
}

// SelectTrials picks the trials to confirm by the tables of the runs that are done or
// diverged.
type SelectTrials struct {
	Experiment *pb.ExperimentRecord // a copy
	Mod        int64
	Runs       []*pb.Run
}

// EndExperiment writes an experiment's final record.
type EndExperiment struct {
	Experiment *pb.ExperimentRecord // a copy with its state, message and end
	Mod        int64
}

// DeleteExperiment removes all that there is of an experiment.
type DeleteExperiment struct {
	Experiment *pb.ExperimentRecord
	Mod        int64
}

func (a Expand) Key() Key     { return Key{"expand", a.Experiment.Id} }
func (a CreateRuns) Key() Key { return Key{"create runs", a.Experiment} }
func (a Continue) Key() Key   { return Key{"continue run", a.Next.Ref.Run} }
func (a Fork) Key() Key {
	return Key{"measure deferred", a.Segment.Ref.Run + " " + a.Segment.Ref.Track}
}
func (a Assign) Key() Key {
	ref := a.Segments[0].Segment.Ref
	return Key{"assign", ref.Run + " " + ref.Track}
}
func (a Requeue) Key() Key           { return Key{"requeue", a.Segment.Ref.Run + " " + a.Segment.Ref.Track} }
func (a EndRun) Key() Key            { return Key{"end run", a.Run.Id} }
func (a Restart) Key() Key           { return Key{"take up again", a.Run.Id} }
func (a Forget) Key() Key            { return Key{"forget", a.Run.Id} }
func (a DeleteCheckpoints) Key() Key { return Key{"delete old checkpoints", a.Run} }
func (a SelectTrials) Key() Key      { return Key{"select trials", a.Experiment.Id} }
func (a EndExperiment) Key() Key     { return Key{"end experiment", a.Experiment.Id} }
func (a DeleteExperiment) Key() Key  { return Key{"delete experiment", a.Experiment.Id} }
