package app

import (
	"context"
	"fmt"

	"neoteny/cmd/neoteny/internal/cli/results"
	pb "neoteny/proto/neoteny/v1"
)

// retriedAtOnce is how many runs a request may name.
const retriedAtOnce = 2000

// Remake makes the runs again whose results are not all there, until save, which is
// called with the results as they are then, finds nothing missing. It returns the last
// results; those that are still missing are in them.
func (a *App) Remake(ctx context.Context, api pb.ExperimentServiceClient, r *results.Result, opts FollowOptions,
	save func(*results.Result) error,
) (*results.Result, error) {
	for before := len(r.Lost) + 1; len(r.Lost) > 0 && len(r.Lost) < before; {
		before = len(r.Lost)
		id, runs := r.Experiment.GetId(), r.LostRuns()
		fmt.Fprintf(a.Progress, "results of %d runs are lost, and are computed again\n", len(runs))
		runs = runs[:min(len(runs), retriedAtOnce)]
		if _, err := api.RetryExperiment(ctx, &pb.RetryExperimentRequest{Id: id, Runs: runs}); err != nil {
			return r, err
		}
		if _, err := a.Follow(ctx, api, id, opts); err != nil {
			return r, err
		}
		var err error
		if r, err = results.Fetch(ctx, api, id); err != nil {
			return r, err
		}
		if err := save(r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// Complete is nil where no results are missing. Else it names the runs, and says what
// makes them again.
func (a *App) Complete(r *results.Result, remedy string) error {
	if len(r.Lost) == 0 {
		return nil
	}
	if err := r.WriteLost(a.Err); err != nil {
		return err
	}
	return fmt.Errorf("results of %d of %d runs are missing; %s", len(r.Lost), len(r.Runs), remedy)
}
