package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/cmd/neoteny/internal/cli/progress"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// Follow shows an experiment's progress until it has ended and returns its last
// state. A coordinator that goes away and comes back is waited for.
func (a *App) Follow(ctx context.Context, api pb.ExperimentServiceClient, id string, opts FollowOptions) (last *pb.Experiment, err error) {
	show := opts.Each
	if show == nil {
		r := progress.New(progress.Config{Out: a.Err, Terminal: a.Terminal, Live: opts.Live})
		a.Progress.Through(r)
		defer func() {
			r.Close()
			a.Progress.Through(nil)
		}()
		show = func(e *pb.Experiment) error {
			s := stateOf(e)
			if opts.Live == nil { // others made it, and perhaps long ago
				s.Elapsed = elapsed(e)
			}
			r.Update(s)
			return nil
		}
	}
	log := a.Logger(slog.LevelWarn)
	for known := false; ; {
		last, err = watchOnce(ctx, api, id, last, show, &known)
		switch {
		case err == nil:
			if p := last.GetProgress(); opts.Each == nil && p.GetRunsReused() > 0 {
				fmt.Fprintf(a.Progress, "%d of %d runs are reused from earlier experiments; --no-reuse makes them again\n",
					p.GetRunsReused(), p.GetRuns())
			}
			return last, nil
		case ctx.Err() != nil:
			return last, context.Cause(ctx)
		case !known || !away(err):
			return last, err
		}
		log.Warn("coordinator is away, watching again when it is back", "error", Sentence(err))
		select {
		case <-ctx.Done():
			return last, context.Cause(ctx)
		case <-time.After(reconnect):
		}
	}
}

type FollowOptions struct {
	// Live returns the steps made since now, committed or not.
	Live func() int64
	// Each gets every state; with it nothing else is shown.
	Each func(*pb.Experiment) error
}

// reconnect is how long follow waits before it watches anew.
const reconnect = time.Second

// away reports whether a call may succeed later: the server is gone or starting.
func away(err error) bool {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	var st grpcError
	if !errors.As(err, &st) {
		return false
	}
	return status.Code(st) == codes.Unavailable
}

func watchOnce(ctx context.Context, api pb.ExperimentServiceClient, id string, last *pb.Experiment, show func(*pb.Experiment) error, known *bool) (*pb.Experiment, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := api.WatchExperiment(ctx, &pb.WatchExperimentRequest{Id: id})
	if err != nil {
		return last, err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if last != nil && ended(last.GetState()) {
				return last, nil
			}
			return last, fmt.Errorf("watch of %s ended early: %w", id, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return last, err
		}
		*known = true
		last = m.GetExperiment()
		if err := show(last); err != nil {
			return last, err
		}
		if ended(last.GetState()) {
			return last, nil
		}
	}
}

func ended(s pb.ExperimentState) bool {
	switch s {
	case pb.ExperimentState_EXPERIMENT_STATE_DONE, pb.ExperimentState_EXPERIMENT_STATE_FAILED, pb.ExperimentState_EXPERIMENT_STATE_CANCELLED:
		return true
	}
	return false
}

// elapsed is how long an ended experiment took from its submission; else 0.
func elapsed(e *pb.Experiment) time.Duration {
	if e.GetCreatedAt() == nil || e.GetEndedAt() == nil {
		return 0
	}
	return e.GetEndedAt().AsTime().Sub(e.GetCreatedAt().AsTime()).Round(time.Millisecond)
}

func stateOf(e *pb.Experiment) progress.State {
	p := e.GetProgress()
	return progress.State{
		ID: e.GetId(), Phase: results.StateName(e.GetState()), Message: e.GetMessage(), Ended: ended(e.GetState()),
		Runs: int64(p.GetRuns()), RunsDone: int64(p.GetRunsDone()),
		RunsDiverged: int64(p.GetRunsDiverged()), RunsFailed: int64(p.GetRunsFailed()),
		Tasks: p.GetTasks(), TasksDone: p.GetTasksDone(), Steps: p.GetSteps(), StepsDone: p.GetStepsDone(),
	}
}

// WeightsFlag is the flag of commands that begin an experiment.
type WeightsFlag struct {
	Weights bool `help:"Have every run publish the weights of its network in the end, as safetensors, as publish: [weights] in the file does."`
}

// Ask adds to a spec that its runs publish their weights.
func (f WeightsFlag) Ask(spec *pb.ExperimentSpec) {
	if f.Weights && !slices.Contains(spec.GetPublish(), component.Weights) {
		spec.Publish = append(spec.Publish, component.Weights)
	}
}

// StrictFlag is the flag of commands that end with an experiment's verdict.
type StrictFlag struct {
	Strict bool `help:"End with 1 if a run diverged, too. Without it that is a result, not an error."`
}

// Verdict is [VerdictOf], stricter where the flag is set.
func (f StrictFlag) Verdict(e *pb.Experiment) error {
	if err := VerdictOf(e); err != nil {
		return err
	}
	if p := e.GetProgress(); f.Strict && p.GetRunsDiverged() > 0 {
		return fmt.Errorf("%d of %d runs of %s diverged", p.GetRunsDiverged(), p.GetRuns(), e.GetId())
	}
	return nil
}

// VerdictOf is the error that an ended experiment amounts to. Claims that did
// not hold, and runs that diverged, are results, not errors.
func VerdictOf(e *pb.Experiment) error {
	p := e.GetProgress()
	switch {
	case e.GetState() == pb.ExperimentState_EXPERIMENT_STATE_CANCELLED:
		return fmt.Errorf("%s was cancelled; %d of %d runs are done", e.GetId(), p.GetRunsDone(), p.GetRuns())
	case p.GetRunsFailed() > 0:
		return fmt.Errorf("%d of %d runs of %s failed; `neoteny get %s --state failed` shows why", p.GetRunsFailed(), p.GetRuns(), e.GetId(), e.GetId())
	case e.GetState() == pb.ExperimentState_EXPERIMENT_STATE_FAILED:
		return fmt.Errorf("%s failed: %s", e.GetId(), e.GetMessage())
	}
	return nil
}
