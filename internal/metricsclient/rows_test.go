package metricsclient

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "neoteny/proto/neoteny/v1"
)

// Blocks of any make-up, cut and joined to batches anyhow, keep every value at
// its step, and the batches are within the limits.
func TestBuilderKeepsEveryValue(t *testing.T) {
	type cell struct {
		Column
		step int64
	}
	rapid.Check(t, func(t *rapid.T) {
		flushRows := rapid.Int64Range(1, 40).Draw(t, "flush")
		columns := rapid.IntRange(0, 5).Draw(t, "columns")
		want, got := map[cell]float32{}, map[cell]float32{}
		var b builder
		first, next, count := int64(0), int64(0), int64(0)
		seal := func() {
			n := b.n
			bytes := b.bytes + batchOverhead
			m := &pb.MetricBatch{FirstStep: first, NSteps: n, Columns: b.take()}
			require.LessOrEqual(t, int64(proto.Size(m)), bytes)
			for _, c := range m.Columns {
				if len(c.Offsets) == 0 {
					require.Len(t, c.Values, int(n))
				}
				require.NotEmpty(t, c.Values)
				for i, v := range c.Values {
					step := first + int64(i)
					if len(c.Offsets) > 0 {
						step = first + int64(c.Offsets[i])
					}
					require.NotContains(t, got, cell{Column{c.Metric, c.Layer}, step})
					got[cell{Column{c.Metric, c.Layer}, step}] = v
				}
			}
			first += n
		}
		for range rapid.IntRange(1, 8).Draw(t, "blocks") {
			r := Rows{First: next, N: rapid.Int64Range(0, 30).Draw(t, "n")}
			for i := range columns {
				s := Series{Column: Column{"m", fmt.Sprint(i)}}
				switch rapid.IntRange(0, 2).Draw(t, "form") {
				case 0:
					continue
				case 1:
					s.Values = make([]float32, r.N)
				case 2:
					s.Offsets = []uint32{}
					for o := range r.N {
						if rapid.Bool().Draw(t, "measured") {
							s.Offsets, s.Values = append(s.Offsets, uint32(o)), append(s.Values, 0)
						}
					}
				}
				for j := range s.Values {
					count++
					s.Values[j] = float32(count)
					step := next + int64(j)
					if s.Offsets != nil {
						step = next + int64(s.Offsets[j])
					}
					want[cell{s.Column, step}] = s.Values[j]
				}
				r.Series = append(r.Series, s)
			}
			require.NoError(t, r.check())
			for from := int64(0); from < r.N; {
				n := min(b.room(r, flushRows), r.N-from)
				if n == 0 {
					require.Positive(t, b.n, "an empty batch takes a step")
					seal()
					continue
				}
				b.add(r, from, from+n)
				from += n
			}
			next += r.N
		}
		seal()
		require.Equal(t, want, got)
		require.Equal(t, next, first)
	})
}

func TestBatchesStayBelowTheLimit(t *testing.T) {
	// So wide that no hundred steps fit.
	r := Rows{N: 1000}
	for i := range 2000 {
		r.Series = append(r.Series, Series{Column: Column{"metric", fmt.Sprint(i)}, Values: make([]float32, r.N)})
	}
	var b builder
	for {
		n := b.room(r, 4096)
		if n == 0 {
			break
		}
		b.add(r, b.n, b.n+n)
	}
	require.Positive(t, b.n)
	require.Less(t, b.n, int64(200))
	require.Less(t, proto.Size(&pb.MetricBatch{Columns: b.take()}), maxBatchBytes)
}

func TestSpillReturnsWhatWasPut(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		s, err := newSpill(dir, 1<<16)
		require.NoError(t, err)
		defer s.close()
		type record struct {
			at spilled
			b  *pb.MetricBatch
		}
		var kept []record
		for i := range rapid.IntRange(1, 60).Draw(t, "n") {
			if len(kept) > 0 && rapid.Bool().Draw(t, "free") {
				j := rapid.IntRange(0, len(kept)-1).Draw(t, "which")
				s.free(kept[j].at)
				kept = append(kept[:j], kept[j+1:]...)
			} else {
				b := &pb.MetricBatch{Run: "r", FirstStep: int64(i), Columns: []*pb.MetricColumn{
					{Metric: "m", Values: make([]float32, rapid.IntRange(0, 3000).Draw(t, "size"))}}}
				at, err := s.put(b)
				if err != nil {
					require.ErrorIs(t, err, errSpillFull)
				} else {
					kept = append(kept, record{at, b})
				}
			}
			total := int64(0)
			for f := range s.files {
				total += f.size
			}
			require.Equal(t, total, s.total)
			require.LessOrEqual(t, s.total, s.quota)
		}
		for _, r := range kept {
			b, err := s.get(r.at)
			require.NoError(t, err)
			require.True(t, proto.Equal(r.b, b))
			s.free(r.at)
		}
		require.Zero(t, s.total, "nothing needed, nothing kept")
		require.LessOrEqual(t, len(s.files), 1)
	})
}

func TestSpillTellsDamage(t *testing.T) {
	s, err := newSpill(t.TempDir(), 1<<16)
	require.NoError(t, err)
	defer s.close()
	at, err := s.put(&pb.MetricBatch{Run: "r"})
	require.NoError(t, err)
	_, err = at.file.f.WriteAt([]byte{'x'}, at.off+at.size-1)
	require.NoError(t, err)
	_, err = s.get(at)
	require.ErrorContains(t, err, "checksum")
}

// deaf is a service that cannot be reached.
type deaf struct{ pb.MetricsServiceClient }

func (deaf) ReportMetrics(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[pb.ReportMetricsRequest, pb.ReportMetricsResponse], error) {
	return nil, errors.New("cannot be reached")
}

// An answer to what a writer that was given up had sent says nothing about the
// next writer of the track, until there is a new stream.
func TestLateAnswerIsNotTheNextWriters(t *testing.T) {
	c, err := New(deaf{}, Config{BackoffBase: time.Hour, BackoffMax: time.Hour})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	late := &pb.MetricAck{Run: "e/t/1", Track: "main", DurableStep: 30}
	w, err := c.Open("e/t/1", "", "arm", 1, 0)
	require.NoError(t, err)
	c.mu.Lock()
	w.asked = true
	c.mu.Unlock()
	w.Close()
	w, err = c.Open("e/t/1", "", "arm", 2, 50)
	require.NoError(t, err)
	c.mu.Lock()
	require.True(t, c.newSession)
	c.mu.Unlock()
	require.NoError(t, c.acknowledge(late))
	require.NoError(t, w.err)
	c.endSession()
	require.NoError(t, c.acknowledge(late))
	var gap *GapError
	require.ErrorAs(t, w.err, &gap)
}

func BenchmarkBuilder(b *testing.B) {
	const steps = 512
	r := Rows{N: steps}
	for i := range 4 {
		r.Series = append(r.Series, Series{Column: Column{"metric", fmt.Sprint(i)}, Values: make([]float32, steps)})
	}
	var m builder
	b.ReportAllocs()
	for b.Loop() {
		if err := r.check(); err != nil {
			b.Fatal(err)
		}
		if m.room(r, 4096) < steps {
			m.take()
		}
		m.add(r, 0, steps)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/steps, "ns/step")
}
