package results

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// WithWeights makes [Result.WriteFolder] save the weights of every run that has
// published them, too.
func (r *Result) WithWeights(api pb.ExperimentServiceClient) { r.artifacts = api }

// writeWeights writes weights/<trial>/<seed>.safetensors.
func (r *Result) writeWeights(ctx context.Context, dir string) error {
	if r.artifacts == nil {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(calls)
	for _, run := range r.Runs {
		if run.GetArtifacts()[component.Weights] == nil {
			continue
		}
		if !plainName(run.GetTrial()) {
			return fmt.Errorf("trial %q is no name for a folder", run.GetTrial())
		}
		g.Go(func() error {
			path := filepath.Join(dir, "weights", run.GetTrial(), strconv.FormatUint(uint64(run.GetSeed()), 10)+".safetensors")
			id := run.GetId()
			if run.measured != "" {
				id = run.measured
			}
			return writeFile(path, func(w io.Writer) error { return WriteArtifact(ctx, w, r.artifacts, id, component.Weights) })
		})
	}
	return g.Wait()
}

// HasWeights reports whether a run has published its weights.
func (r *Result) HasWeights() bool {
	return slices.ContainsFunc(r.Runs, func(run Run) bool { return run.GetArtifacts()[component.Weights] != nil })
}

// WriteArtifact copies an artifact of a run from the coordinator.
func WriteArtifact(ctx context.Context, w io.Writer, api pb.ExperimentServiceClient, run, name string) error {
	stream, err := api.GetArtifact(ctx, &pb.GetArtifactRequest{Run: run, Name: name})
	if err != nil {
		return fmt.Errorf("get %s of %s: %w", name, run, err)
	}
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("get %s of %s: %w", name, run, err)
		}
		if _, err := w.Write(piece.GetData()); err != nil {
			return err
		}
	}
}

// ArtifactNames are the names of a run's artifacts, in order.
func ArtifactNames(run *pb.Run) []string { return sortedKeys(run.GetArtifacts()) }
