// Package results gets the results of an experiment from the services and
// writes them down: the folder with summary, tables, plots and per-step data,
// and the tables that people see at the end of a run.
package results

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/cluster"
	"neoteny/internal/metric"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
)

// Result is an experiment with everything known of its runs.
type Result struct {
	Experiment *pb.Experiment
	Runs       []Run // by arm, trial and seed
	// Summary covers all runs; its means are over those that finished.
	Summary *report.Summary
	// Lost are the runs whose results are not all there: of per-step data that is known
	// once the folder is written.
	Lost   []Lost
	losing sync.Mutex

	artifacts pb.ExperimentServiceClient // where weights come from; nil: they are not saved
}

// Run is a run with its task table, which is partial unless the run is done.
type Run struct {
	*pb.Run
	Table *pb.TaskTable

	measured string // the id that the metrics service knows it by, where it is another
	lost     bool   // the table
}

// source is the id that the metrics service knows the run by.
func (r Run) source() string { return cmp.Or(r.measured, r.GetReused(), r.GetId()) }

// calls is how many requests are under way at a time.
const calls = 8

// Fetch asks the coordinator for an experiment, its runs and their task tables.
func Fetch(ctx context.Context, api pb.ExperimentServiceClient, id string) (*Result, error) {
	got, err := api.GetExperiment(ctx, &pb.GetExperimentRequest{Id: id})
	if err != nil {
		return nil, fmt.Errorf("get experiment %s: %w", id, err)
	}
	r := &Result{Experiment: got.GetExperiment()}
	runs, err := ListRuns(ctx, api, &pb.ListRunsRequest{Experiment: id})
	if err != nil {
		return nil, err
	}
	r.Runs = make([]Run, len(runs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(calls)
	for i, run := range runs {
		r.Runs[i] = Run{Run: run, Table: &pb.TaskTable{}}
		if run.GetTasksDone() == 0 && run.GetTable() == nil { // a run that diverged has a table of its first task
			continue
		}
		g.Go(func() error {
			full, err := api.GetRun(gctx, &pb.GetRunRequest{Id: run.GetId()})
			if status.Code(err) == codes.DataLoss {
				r.Runs[i].lost = true
				r.lose(r.Runs[i], status.Convert(err).Message())
				return nil
			}
			if err != nil {
				return fmt.Errorf("get run %s: %w", run.GetId(), err)
			}
			r.Runs[i].Table = full.GetTable()
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(r.Runs, func(a, b Run) int {
		return cmp.Or(cmp.Compare(a.GetArm(), b.GetArm()), cmp.Compare(a.GetTrial(), b.GetTrial()), cmp.Compare(a.GetSeed(), b.GetSeed()))
	})
	return r, r.summarize()
}

// ListRuns returns the runs that a request asks for, all pages of them.
func ListRuns(ctx context.Context, api pb.ExperimentServiceClient, req *pb.ListRunsRequest) ([]*pb.Run, error) {
	var runs []*pb.Run
	if req.PageSize == 0 {
		req.PageSize = 1000
	}
	for {
		page, err := api.ListRuns(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("list runs of %s: %w", req.GetExperiment(), err)
		}
		runs = append(runs, page.GetRuns()...)
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return runs, nil
		}
	}
}

// outcomes by state; runs in any other are missing.
var outcomes = map[pb.RunState]report.Outcome{
	pb.RunState_RUN_STATE_DONE:     report.Finished,
	pb.RunState_RUN_STATE_DIVERGED: report.Diverged,
}

// summarize computes the summary from the runs.
func (r *Result) summarize() error {
	var tables []report.RunTable
	for _, run := range r.Runs {
		t := report.RunTable{
			Arm: run.GetArm(), Trial: run.GetTrial(), Seed: run.GetSeed(), Confirmation: run.GetConfirmation(), Analysis: run.GetAnalysis(),
			Params: run.GetParams(), Outcome: report.Missing,
		}
		if outcome, ok := outcomes[run.GetState()]; ok && !run.lost {
			t.Outcome, t.Table = outcome, run.Table
		}
		tables = append(tables, t)
	}
	s, err := report.Summarize(r.Experiment.GetSpec(), tables)
	if err != nil {
		return fmt.Errorf("summarise %s: %w", r.Experiment.GetId(), err)
	}
	r.Summary = s
	return nil
}

// Failed returns the runs that failed.
func (r *Result) Failed() []Run { return r.in(pb.RunState_RUN_STATE_FAILED) }

// Diverged returns the runs that diverged.
func (r *Result) Diverged() []Run { return r.in(pb.RunState_RUN_STATE_DIVERGED) }

func (r *Result) in(state pb.RunState) []Run {
	return slices.DeleteFunc(slices.Clone(r.Runs), func(run Run) bool { return run.GetState() != state })
}

// lacking returns the runs that are done but for deferred measurements.
func (r *Result) lacking() []Run {
	return slices.DeleteFunc(slices.Clone(r.Runs), func(run Run) bool {
		return run.GetState() != pb.RunState_RUN_STATE_DONE || run.GetMessage() == ""
	})
}

// series calls fn with the pieces of a run's per-step data, in the order of
// metric, layer and step. What was measured later, on tracks of its own, is among
// them.
func series(ctx context.Context, api pb.MetricsServiceClient, run Run, fn func(metric.Points) error) error {
	var asides []metric.Points
	for _, b := range run.Table.GetAsides() {
		t := cluster.DeferredTrack(b.GetStep() - 1)
		err := track(ctx, api, run.source(), t, func(p metric.Points) error {
			asides = append(asides, p)
			return nil
		})
		if err != nil {
			if code := status.Code(err); code == codes.NotFound || code == codes.DataLoss {
				return &errLost{fmt.Sprintf("track %s: %s", t, status.Convert(err).Message())}
			}
			return fmt.Errorf("track %s: %w", t, err)
		}
	}
	slices.SortStableFunc(asides, func(a, b metric.Points) int { return a.Compare(b.Column) })
	before := func(c *metric.Column) error { // all that come before the column; nil: all
		for len(asides) > 0 && (c == nil || asides[0].Compare(*c) < 0) {
			if err := fn(asides[0]); err != nil {
				return err
			}
			asides = asides[1:]
		}
		return nil
	}
	err := track(ctx, api, run.source(), "", func(p metric.Points) error {
		if err := before(&p.Column); err != nil {
			return err
		}
		return fn(p)
	})
	if err != nil {
		return err
	}
	return before(nil)
}

// track is series of one track.
func track(ctx context.Context, api pb.MetricsServiceClient, run, name string, fn func(metric.Points) error) error {
	return query(ctx, api, &pb.QuerySeriesRequest{Run: run, Track: name}, fn)
}

func query(ctx context.Context, api pb.MetricsServiceClient, req *pb.QuerySeriesRequest, fn func(metric.Points) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream when fn fails
	stream, err := api.QuerySeries(ctx, req)
	if err != nil {
		return err
	}
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p, err := metric.FromAnswer(piece)
		if err != nil {
			return err
		}
		if err := fn(p); err != nil {
			return err
		}
	}
}
