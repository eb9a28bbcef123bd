package metric

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "neoteny/proto/neoteny/v1"
)

// anyRows draws a valid block. Its values are all different.
func anyRows(t *rapid.T) Rows {
	r := Rows{First: rapid.Int64Range(0, 1000).Draw(t, "first"), N: rapid.Int64Range(0, 20).Draw(t, "n")}
	value := float32(0)
	for i := range rapid.IntRange(0, 4).Draw(t, "columns") {
		s := Series{Column: Column{"m", fmt.Sprint(i)}}
		if sparse := rapid.Bool().Draw(t, "sparse"); sparse || r.N == 0 {
			s.Offsets = []uint32{}
		}
		for o := range r.N {
			if s.Offsets != nil {
				if !rapid.Bool().Draw(t, "measured") {
					continue
				}
				s.Offsets = append(s.Offsets, uint32(o))
			}
			value++
			s.Values = append(s.Values, value)
		}
		r.Series = append(r.Series, s)
	}
	return r
}

// cells are the values of rows by their places, column by column.
func cells(r Rows, from, to int64) map[Column]map[int64]float32 {
	out := map[Column]map[int64]float32{}
	for _, s := range r.Series {
		for i, v := range s.Values {
			step := r.First + int64(i)
			if s.Offsets != nil {
				step = r.First + int64(s.Offsets[i])
			}
			if step < from || step >= to {
				continue
			}
			if out[s.Column] == nil {
				out[s.Column] = map[int64]float32{}
			}
			out[s.Column][step] = v
		}
	}
	return out
}

func TestRowsFromKeepWhatIsLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRows(t)
		require.NoError(t, r.Check())
		step := r.First + rapid.Int64Range(0, r.N).Draw(t, "step")
		before, n := cells(r, 0, math.MaxInt64), r.Values()
		rest := r.From(step)
		require.NoError(t, rest.Check())
		require.Equal(t, []int64{step, r.End()}, []int64{rest.First, rest.End()})
		want := cells(r, step, math.MaxInt64)
		require.Equal(t, want, cells(rest, 0, math.MaxInt64))
		count := int64(0)
		for _, c := range want {
			count += int64(len(c))
		}
		require.Equal(t, count, rest.Values())
		require.Equal(t, before, cells(r, 0, math.MaxInt64), "the block itself stays")
		require.Equal(t, n, r.Values())
	})
}

func TestPointsAddSelectsSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRows(t)
		from := r.First + rapid.Int64Range(-1, r.N).Draw(t, "from")
		to := from + rapid.Int64Range(0, 25).Draw(t, "n")
		want, got := cells(r, from, to), map[Column]map[int64]float32{}
		for _, s := range r.Series {
			p := Points{Column: s.Column}
			p.Add(r.First, s, from, to)
			for i, v := range p.Values {
				if got[s.Column] == nil {
					got[s.Column] = map[int64]float32{}
				}
				if i > 0 {
					require.Greater(t, p.Steps[i], p.Steps[i-1])
				}
				got[s.Column][p.Steps[i]] = v
			}
		}
		require.Equal(t, want, got)
	})
}

// The wire carries rows there and back.
func TestRowsTravel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRows(t)
		payload, err := proto.Marshal(r.Wire())
		require.NoError(t, err)
		var b pb.MetricBatch
		require.NoError(t, proto.Unmarshal(payload, &b))
		got, err := FromWire(&b)
		require.NoError(t, err)
		require.Equal(t, r, got)
	})
}

func TestFromWireRefuses(t *testing.T) {
	two := func(c ...*pb.MetricColumn) *pb.MetricBatch { return &pb.MetricBatch{NSteps: 2, Columns: c} }
	dense := &pb.MetricColumn{Metric: "a", Values: []float32{1, 2}}
	wide := two()
	for i := range 100 {
		wide.Columns = append(wide.Columns, &pb.MetricColumn{Metric: "a", Layer: fmt.Sprint(i)})
	}
	wide.Columns = append(wide.Columns, wide.Columns[70])
	for want, b := range map[string]*pb.MetricBatch{
		"first_step -1 is not in":                             {FirstStep: -1},
		"first_step 9223372036854775807 is not in":            {FirstStep: math.MaxInt64},
		"n_steps -1 is not in":                                {NSteps: -1},
		"n_steps 16777217 is not in":                          {NSteps: MaxSteps + 1},
		"4097 columns are over the limit of 4096":             {Columns: make([]*pb.MetricColumn, MaxColumns+1)},
		`columns[1] repeats metric "a" of layer ""`:           two(dense, dense),
		`columns[100] repeats metric "a" of layer "70"`:       wide,
		`columns[0] (""): metric is not a name`:               two(nil),
		`columns[1] ("A"): metric is not a name`:              two(dense, &pb.MetricColumn{Metric: "A"}),
		"layer is not UTF-8 text of at most 64 bytes":         two(&pb.MetricColumn{Metric: "a", Layer: "\xff"}),
		"1 values without offsets for 2 steps":                two(&pb.MetricColumn{Metric: "a", Values: []float32{1}}),
		"0 values for 1 offsets":                              two(&pb.MetricColumn{Metric: "a", Offsets: []uint32{1}}),
		"offsets[1] = 0 is not ascending below n_steps 2":     two(&pb.MetricColumn{Metric: "a", Offsets: []uint32{1, 0}, Values: []float32{1, 2}}),
		"offsets[0] = 2 is not ascending below n_steps 2":     two(&pb.MetricColumn{Metric: "a", Offsets: []uint32{2}, Values: []float32{1}}),
		`columns[0] ("` + strings.Repeat("a", 65) + `"): met`: two(&pb.MetricColumn{Metric: strings.Repeat("a", 65)}),
	} {
		_, err := FromWire(b)
		require.ErrorContains(t, err, want)
	}
	_, err := FromWire(nil)
	require.NoError(t, err, "no rows")
}

func TestNewTrack(t *testing.T) {
	got, err := NewTrack("e/t/r/1", "")
	require.NoError(t, err)
	require.Equal(t, Track{"e/t/r/1", MainTrack}, got)
	experiment, trial, seed := got.Split()
	require.Equal(t, []string{"e", "t/r", "1"}, []string{experiment, trial, seed})
	require.Equal(t, "e/t/r/1 track x", Track{"e/t/r/1", "x"}.String())
	for _, run := range []string{"", "e", "e/1", "e//1", "/t/1", "e/t/", "e/\xff/1", "e/" + strings.Repeat("t", 512) + "/1"} {
		_, err := NewTrack(run, "")
		require.ErrorContains(t, err, "run id")
	}
	for _, name := range []string{"\xff", strings.Repeat("x", 65)} {
		_, err := NewTrack("e/t/1", name)
		require.ErrorContains(t, err, "track")
	}
	require.NoError(t, CheckSender("arm", 0))
	require.ErrorContains(t, CheckSender("arm", -1), "attempt")
	require.ErrorContains(t, CheckSender(strings.Repeat("a", 129), 0), "arm")
}

func TestFileKeepsPoints(t *testing.T) {
	const n = 3*rowsPerWrite + 5
	first, second := Points{Column: Column{"a", ""}}, Points{Column: Column{"a", "0"}}
	for i := range int64(n) {
		first.Steps, first.Values = append(first.Steps, i), append(first.Values, float32(i))
		second.Steps, second.Values = append(second.Steps, 2*i), append(second.Values, -float32(i))
	}
	var b bytes.Buffer
	w := NewFileWriter(&b, "rows")
	require.NoError(t, w.Write(first))
	require.NoError(t, w.Write(second))
	require.EqualValues(t, 2*n, w.Rows())
	w.SetMetadata("key", "text")
	require.NoError(t, w.Close())
	f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	text, ok := f.Lookup("key")
	require.True(t, ok)
	require.Equal(t, "text", text)
	r := NewFileReader(f)
	read := func(c Column, row, from, to int64) Points {
		got := Points{Column: c}
		require.NoError(t, r.Read(t.Context(), c, row, n, from, to, func(p Points) error {
			require.Equal(t, c, p.Column)
			got.Steps, got.Values = append(got.Steps, p.Steps...), append(got.Values, p.Values...)
			return nil
		}))
		return got
	}
	require.Equal(t, second, read(second.Column, n, 0, math.MaxInt64))
	require.Equal(t, first, read(first.Column, 0, 0, math.MaxInt64))
	got := read(second.Column, n, 9, 13)
	require.Equal(t, []int64{10, 12}, got.Steps)
	require.Equal(t, []float32{-5, -6}, got.Values)
	require.NoError(t, r.Close())
}

// A head is read from the wire without a decoder; it must see what that sees.
func FuzzReadHead(f *testing.F) {
	for _, b := range []*pb.MetricBatch{
		{Run: "e/t/1", Track: "fork", Last: true},
		{Run: "e/t/1", Arm: "arm", Attempt: 1, FirstStep: 7, NSteps: 3, Columns: []*pb.MetricColumn{
			{Metric: "online_accuracy", Values: []float32{1, 2, 3}},
			{Metric: "dormant_units", Layer: "0", Offsets: []uint32{2}, Values: []float32{4}}}},
	} {
		payload, err := proto.Marshal(b)
		require.NoError(f, err)
		f.Add(payload)
	}
	f.Add([]byte("\n\x050/0/0\r0000")) // a field of another wire type is unknown
	f.Fuzz(func(t *testing.T, payload []byte) {
		h, err := ReadHead(payload)
		var b pb.MetricBatch
		if proto.Unmarshal(payload, &b) != nil {
			return
		}
		rows, rowsErr := FromWire(&b)
		if rowsErr != nil {
			return
		}
		track, trackErr := NewTrack(b.Run, b.Track)
		if trackErr != nil {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, track, h.Track)
		require.Equal(t, []any{b.Arm, b.Attempt, rows.First, rows.N, b.Last}, []any{h.Arm, h.Attempt, h.First, h.N, h.Last})
		values := map[Column]int64{}
		for _, s := range rows.Series {
			values[s.Column] = int64(len(s.Values))
		}
		require.Equal(t, values, h.Values)
		// What is left of the rows is rows.
		require.NoError(t, rows.From(rows.First+rows.N/2).Check())
	})
}
