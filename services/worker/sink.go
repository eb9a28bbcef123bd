package worker

import (
	"context"
	"time"

	"neoteny/internal/metric"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
)

// sink hands a life's rows to the metrics writer and gathers its boundaries.
type sink struct {
	ctx    context.Context
	writer metricWriter
	tel    *telemetry.Worker

	series     []metric.Series
	boundaries []*pb.Boundary
	rows       []*pb.TaskRow

	*clock
	lanes   int           // that share the clock
	counted time.Duration // of it, in the metrics
}

// Rows implements engine.Sink. It waits only where neither memory nor the
// spill quota have room.
func (s *sink) Rows(r engine.Rows) error {
	s.pause()
	defer func() { s.since = time.Now() }()
	s.tel.Steps(r.N, (s.busy-s.counted)/time.Duration(s.lanes))
	s.counted = s.busy
	s.series = s.series[:0]
	for _, x := range r.Series {
		s.series = append(s.series, metric.Series{Column: metric.Column(x.Column), Offsets: x.Offsets, Values: x.Values})
	}
	return s.writer.Append(s.ctx, metric.Rows{First: r.First, N: r.N, Series: s.series})
}

// Boundary implements engine.Sink.
func (s *sink) Boundary(b engine.Boundary) error {
	s.boundaries = append(s.boundaries, &pb.Boundary{Task: int32(b.Task), Step: b.Step, StateDigest: b.State[:], RowsDigest: b.Rows[:]})
	s.rows = append(s.rows, &pb.TaskRow{Task: int32(b.Task), Values: append([]float64(nil), b.Table...)})
	return nil
}

// seconds is the lane's share of the time in the engine.
func (s *sink) seconds() float64 { return s.busy.Seconds() / float64(s.lanes) }

// clock measures the time in the engine, of all lanes of a pack together.
type clock struct {
	since time.Time     // when the engine took over last
	busy  time.Duration // time in the engine
}

// pause stops the clock of the engine.
func (c *clock) pause() { c.busy += time.Since(c.since) }
