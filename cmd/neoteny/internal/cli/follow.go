package cli

import (
	pb "neoteny/proto/neoteny/v1"

	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"neoteny/cmd/neoteny/internal/cli/progress"
	"neoteny/cmd/neoteny/internal/cli/results"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// follow shows an experiment's progress until it has ended and returns its last
// state. A coordinator that goes away and comes back is waited for.
func (a *app) follow(ctx context.Context, api pb.ExperimentServiceClient, id string, opts followOptions) (last *pb.Experiment, err error) {
	show := opts.each
	if show == nil {
		r := progress.New(progress.Config{Out: a.Err, Terminal: a.Terminal, Live: opts.live})
		a.progress.through(r)
		defer func() {
			r.Close()
			a.progress.through(nil)
		}()
		show = func(e *pb.Experiment) error { r.Update(stateOf(e)); return nil }
	}
	log := a.logger(slog.LevelWarn)
	for known := false; ; {
		last, err = watchOnce(ctx, api, id, last, show, &known)
		switch {
		case err == nil:
			return last, nil
		case ctx.Err() != nil:
			return last, context.Cause(ctx)
		case !known || !away(err):
			return last, err
		}
		log.Warn("coordinator is away, watching again when it is back", "error", sentence(err))
		select {
		case <-ctx.Done():
			return last, context.Cause(ctx)
		case <-time.After(reconnect):
		}
	}
}

type followOptions struct {
	// live returns the steps made since now, committed or not.
	live func() int64
	// each gets every state; with it nothing else is shown.
	each func(*pb.Experiment) error
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

func stateOf(e *pb.Experiment) progress.State {
	p := e.GetProgress()
	return progress.State{
		ID: e.GetId(), Phase: results.StateName(e.GetState()), Message: e.GetMessage(), Ended: ended(e.GetState()),
		Runs: int64(p.GetRuns()), RunsDone: int64(p.GetRunsDone()), RunsFailed: int64(p.GetRunsFailed()),
		Tasks: p.GetTasks(), TasksDone: p.GetTasksDone(), Steps: p.GetSteps(), StepsDone: p.GetStepsDone(),
	}
}

// verdictOf is the error that an ended experiment amounts to. Claims that did
// not hold are results, not errors.
func verdictOf(e *pb.Experiment) error {
	p := e.GetProgress()
	switch {
	case e.GetState() == pb.ExperimentState_EXPERIMENT_STATE_CANCELLED:
		return fmt.Errorf("%s was cancelled; %d of %d runs are done", e.GetId(), p.GetRunsDone(), p.GetRuns())
	case p.GetRunsFailed() > 0:
		return fmt.Errorf("%d of %d runs of %s failed; `neoteny get %s --state failed` tells why", p.GetRunsFailed(), p.GetRuns(), e.GetId(), e.GetId())
	case e.GetState() == pb.ExperimentState_EXPERIMENT_STATE_FAILED:
		return fmt.Errorf("%s failed: %s", e.GetId(), e.GetMessage())
	}
	return nil
}
