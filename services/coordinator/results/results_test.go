package results

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// inline returns results as they are: none has overflowed.
type inline struct{}

func (inline) Result(_ context.Context, r *pb.SegmentResult) (*pb.SegmentResult, error) {
	return r, nil
}

// part is a committed segment with a row and a boundary for each of its tasks.
func part(first, end int64, column string, tasks ...int32) cluster.SegmentAt {
	r := &pb.SegmentResult{EndStep: end}
	if len(tasks) > 0 {
		r.Columns = []*pb.ColumnName{{Metric: column}}
	}
	for _, task := range tasks {
		r.Rows = append(r.Rows, &pb.TaskRow{Task: task, Values: []float64{float64(task)}})
		r.Boundaries = append(r.Boundaries, &pb.Boundary{Task: task})
	}
	return cluster.SegmentAt{Segment: &pb.Segment{
		Ref: &pb.SegmentRef{Run: "e/t/0", Track: cluster.MainTrack, FirstStep: first}, State: pb.SegmentState_SEGMENT_STATE_DONE, Result: r,
	}}
}

// deferred is a committed measurement of one task.
func deferred(task int32, column string, value float64) cluster.SegmentAt {
	g := part(int64(task), int64(task)+1, column, task)
	g.Segment.Ref.Track = cluster.DeferredTrack(int64(task))
	g.Segment.Result.Rows[0].Values[0] = value
	return g
}

func TestTablesAreJoined(t *testing.T) {
	s := Tables{Source: inline{}}
	open := part(30, 40, "loss", 3)
	open.Segment.State = pb.SegmentState_SEGMENT_STATE_ASSIGNED
	// One segment ended inside of a task, one is still in work.
	segs := []cluster.SegmentAt{part(0, 15, "loss", 0), part(15, 18, ""), part(18, 30, "loss", 1, 2), open}
	table, err := s.Assemble(t.Context(), segs, []cluster.SegmentAt{deferred(1, "rank", 7), deferred(9, "rank", 8)}, 3)
	require.NoError(t, err)
	require.Len(t, table.Columns, 2)
	require.Len(t, table.Boundaries, 3)
	require.Len(t, table.Asides, 2)
	for i, row := range table.Rows {
		require.EqualValues(t, i, row.Task)
		require.EqualValues(t, i, row.Values[0])
		require.Equal(t, i != 1, math.IsNaN(row.Values[1]), "only task 1 is measured")
	}
	require.EqualValues(t, 7, table.Rows[1].Values[1])
	require.Len(t, segs[0].Segment.Result.Rows[0].Values, 1, "records stay what they are")
}

func TestResultsThatDoNotFit(t *testing.T) {
	wide := part(0, 10, "loss", 0)
	wide.Segment.Result.Rows[0].Values = []float64{1, 2}
	for want, c := range map[string]struct{ segs, deferred []cluster.SegmentAt }{
		"segment [10, 20) has other columns than the ones before": {segs: []cluster.SegmentAt{part(0, 10, "loss", 0), part(10, 20, "error", 1)}},
		"segment [10, 20): row of task 2 where task 1 is due":     {segs: []cluster.SegmentAt{part(0, 10, "loss", 0), part(10, 20, "loss", 2)}},
		"segment [0, 10): 2 values in 1 columns":                  {segs: []cluster.SegmentAt{wide}},
		"1 rows and 1 boundaries of 2 tasks":                      {segs: []cluster.SegmentAt{part(0, 10, "loss", 0)}},
		"track aside-1 has other columns than the ones before": {
			segs:     []cluster.SegmentAt{part(0, 20, "loss", 0, 1)},
			deferred: []cluster.SegmentAt{deferred(0, "rank", 1), deferred(1, "norm", 1)},
		},
	} {
		_, err := Tables{Source: inline{}}.Assemble(t.Context(), c.segs, c.deferred, 2)
		require.ErrorContains(t, err, want)
		require.True(t, Lost(err), "%v: no second try can help", err)
	}
}

func TestWhatIsLostIsNotTriedAgain(t *testing.T) {
	for _, err := range []error{blob.ErrNotFound, blob.ErrCorrupt, blob.ErrTooLarge} {
		require.True(t, Lost(fmt.Errorf("read: %w", err)))
	}
	require.False(t, Lost(nil))
	require.False(t, Lost(errors.New("connection refused")))
}

func TestTablesAreKept(t *testing.T) {
	bucket, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	defer bucket.Close()
	s := Tables{Source: inline{}, Blob: bucket}
	table, err := s.Assemble(t.Context(), []cluster.SegmentAt{part(0, 20, "loss", 0, 1)}, nil, 2)
	require.NoError(t, err)
	ref, err := s.Put(t.Context(), "e/t/0", table)
	require.NoError(t, err)
	again, err := s.Put(t.Context(), "e/t/0", table)
	require.NoError(t, err)
	require.Equal(t, ref.Key, again.Key, "under its content")
	got, err := s.Get(t.Context(), ref)
	require.NoError(t, err)
	require.Len(t, got.Rows, 2)
}
