package metric

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
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
		var b Builder
		first, next, count := int64(0), int64(0), int64(0)
		seal := func() {
			n := b.n
			bytes := b.Bytes()
			m := b.Batch(first)
			require.Equal(t, []int64{first, n}, []int64{m.FirstStep, m.NSteps})
			require.LessOrEqual(t, int64(proto.Size(m)), bytes)
			_, err := FromWire(m)
			require.NoError(t, err, "the service takes it")
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
			require.NoError(t, r.Check())
			for from := int64(0); from < r.N; {
				n := min(b.Room(r, flushRows), r.N-from)
				if n == 0 {
					require.Positive(t, b.n, "an empty batch takes a step")
					seal()
					continue
				}
				b.Add(r, from, from+n)
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
	var b Builder
	for {
		n := b.Room(r, 4096)
		if n == 0 {
			break
		}
		b.Add(r, b.n, b.n+n)
	}
	require.Positive(t, b.n)
	require.Less(t, b.n, int64(200))
	require.Less(t, proto.Size(b.Batch(0)), MaxBatchBytes)
}

func BenchmarkBuilder(b *testing.B) {
	const steps = 512
	r := Rows{N: steps}
	for i := range 4 {
		r.Series = append(r.Series, Series{Column: Column{"metric", fmt.Sprint(i)}, Values: make([]float32, steps)})
	}
	var m Builder
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Check(); err != nil {
			b.Fatal(err)
		}
		if m.Room(r, 4096) < steps {
			m.Batch(0)
		}
		m.Add(r, 0, steps)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/steps, "ns/step")
}
