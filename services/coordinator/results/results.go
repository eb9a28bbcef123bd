// Package results puts together the task tables of runs from what their segments
// have committed, and keeps them in the blob store.
package results

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// Bounds of what is read into memory: task tables, and artifacts.
const (
	maxTable    = 256 << 20
	maxArtifact = 1 << 30
)

// Blob is what tables need of the blob store.
type Blob interface {
	Put(ctx context.Context, key string, data []byte) (*pb.BlobRef, error)
	Get(ctx context.Context, ref *pb.BlobRef, limit int64) ([]byte, error)
}

// Source returns committed results in full.
type Source interface {
	Result(ctx context.Context, r *pb.SegmentResult) (*pb.SegmentResult, error)
}

// Tables makes, writes and reads task tables.
type Tables struct {
	Source Source
	Blob   Blob
}

// ErrTable says that committed results do not fit together.
var ErrTable = errors.New("results do not fit together")

// Lost reports that trying again cannot help: what was committed is gone, damaged
// or does not fit together.
func Lost(err error) bool {
	return errors.Is(err, ErrTable) || errors.Is(err, blob.ErrNotFound) ||
		errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrTooLarge)
}

// Assemble joins the task tables of committed segments, and adds the deferred
// measurements. tasks is how many there must be; 0 takes what there is.
func (s Tables) Assemble(ctx context.Context, segs, deferred []cluster.SegmentAt, tasks int32) (*pb.TaskTable, error) {
	t := &pb.TaskTable{}
	for _, g := range segs {
		if g.Segment.State != pb.SegmentState_SEGMENT_STATE_DONE {
			continue
		}
		res, err := s.Source.Result(ctx, g.Segment.Result)
		if err != nil {
			return nil, err
		}
		where := fmt.Sprintf("segment [%d, %d)", g.Segment.Ref.FirstStep, res.EndStep)
		switch {
		case len(res.Rows) == 0 && len(res.Columns) == 0:
			// Yielded inside a task.
		case t.Columns == nil:
			t.Columns = res.Columns
		case !alike(t.Columns, res.Columns):
			return nil, fmt.Errorf("%s has other columns than the ones before: %w", where, ErrTable)
		}
		for _, row := range res.Rows {
			if n := len(t.Rows); int(row.Task) != n {
				return nil, fmt.Errorf("%s: row of task %d where task %d is due: %w", where, row.Task, n, ErrTable)
			}
			if len(row.Values) != len(t.Columns) {
				return nil, fmt.Errorf("%s: %d values in %d columns: %w",
					where, len(row.Values), len(t.Columns), ErrTable)
			}
			t.Rows = append(t.Rows, row)
		}
		for _, b := range res.Boundaries {
			if n := len(t.Boundaries); int(b.Task) != n {
				return nil, fmt.Errorf("%s: boundary of task %d where task %d is due: %w", where, b.Task, n, ErrTable)
			}
			t.Boundaries = append(t.Boundaries, b)
		}
	}
	if tasks > 0 && (len(t.Boundaries) != int(tasks) || len(t.Rows) != int(tasks)) {
		return nil, fmt.Errorf("%d rows and %d boundaries of %d tasks: %w",
			len(t.Rows), len(t.Boundaries), tasks, ErrTable)
	}
	return t, s.joinDeferred(ctx, t, deferred)
}

// alike reports whether two tables have the same columns.
func alike(a, b []*pb.ColumnName) bool {
	return slices.EqualFunc(a, b, func(a, b *pb.ColumnName) bool { return proto.Equal(a, b) })
}

// Put stores a run's task table, under its content.
func (s Tables) Put(ctx context.Context, runID string, t *pb.TaskTable) (*pb.BlobRef, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("task table of %s: %w", runID, err)
	}
	folder, err := cluster.RunBlobPrefix(runID)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return s.Blob.Put(ctx, folder+"/table-"+hex.EncodeToString(sum[:8])+".pb", b)
}

// Get reads a stored task table.
func (s Tables) Get(ctx context.Context, ref *pb.BlobRef) (*pb.TaskTable, error) {
	b, err := s.Blob.Get(ctx, ref, maxTable)
	if err != nil {
		return nil, err
	}
	t := &pb.TaskTable{}
	if err := proto.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("task table %s: %w", ref.Key, err)
	}
	return t, nil
}

// Artifact reads what a run has published.
func (s Tables) Artifact(ctx context.Context, ref *pb.BlobRef) ([]byte, error) {
	return s.Blob.Get(ctx, ref, maxArtifact)
}

// joinDeferred adds the deferred measurements of a table's tasks: columns behind
// the others, with NaN where nothing was measured.
func (s Tables) joinDeferred(ctx context.Context, t *pb.TaskTable, deferred []cluster.SegmentAt) error {
	own := len(t.Columns)
	joined := false
	for _, g := range deferred {
		if g.Segment.State != pb.SegmentState_SEGMENT_STATE_DONE {
			continue
		}
		res, err := s.Source.Result(ctx, g.Segment.Result)
		if err != nil {
			return err
		}
		where := fmt.Sprintf("track %s", g.Segment.Ref.Track)
		if !joined {
			joined = true
			t.Columns = slices.Concat(t.Columns, res.Columns)
			for i, row := range t.Rows { // the records of segments stay what they are
				values := slices.Clone(row.Values)
				for range res.Columns {
					values = append(values, math.NaN())
				}
				t.Rows[i] = &pb.TaskRow{Task: row.Task, Values: values}
			}
		}
		if !alike(t.Columns[own:], res.Columns) {
			return fmt.Errorf("%s has other columns than the ones before: %w", where, ErrTable)
		}
		for _, row := range res.Rows {
			if len(row.Values) != len(res.Columns) {
				return fmt.Errorf("%s: %d values in %d columns: %w", where, len(row.Values), len(res.Columns), ErrTable)
			}
			if int(row.Task) >= len(t.Rows) {
				continue // of a task that the main track has not ended yet
			}
			for i, v := range row.Values {
				if v == v { // others of the task's values are of other measurements
					t.Rows[row.Task].Values[own+i] = v
				}
			}
		}
		t.Asides = append(t.Asides, res.Boundaries...)
	}
	return nil
}
