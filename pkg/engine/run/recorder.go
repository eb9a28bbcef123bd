package run

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"hash"
	"math"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/spec"
)

// Column names one series of a run's metrics.
type Column = probe.Column

// Series holds one column's values in a stretch of steps.
type Series struct {
	Column
	Offsets []uint32 // steps relative to Rows.First, ascending; nil means every step
	Values  []float32
}

// Rows holds every value of the steps [First, First+N). It is valid during the
// call of the sink only.
type Rows struct {
	First, N int64
	Series   []Series
}

// chunk is how many steps of values are gathered before they go to the sink.
const chunk = 1024

// recorder turns what probes measure into rows, task tables and the digest of
// the rows. What it must remember between steps is in the store.
type recorder struct {
	probes  []recordedProbe
	columns []Column
	rows    Rows
	dense   []bool

	// Aggregates of the current task and of the current window, by column.
	task, window aggregate

	hash   hash.Hash
	hashed [4096]byte
	nhash  int
}

type recordedProbe struct {
	probe.Probe
	stepper  probe.Stepper
	traced   bool // it looks into the training program, which does not run once the learner is frozen
	measurer probe.Measurer
	tasks    probe.TaskMeasurer
	schedule spec.Schedule
	first    int // column
	values   []float32
}

// aggregate reduces values to mean, last or max.
type aggregate struct{ sum, count, last, max []float64 }

func newAggregate(space graph.Space, n int) aggregate {
	f := func(what string) []float64 { return space.State(what, graph.F64, max(n, 1)).F64 }
	return aggregate{f("sum"), f("count"), f("last"), f("max")}
}

func (a aggregate) add(i int, v float32) {
	x := float64(v)
	if a.count[i] == 0 || x > a.max[i] {
		a.max[i] = x
	}
	a.sum[i] += x
	a.count[i]++
	a.last[i] = x
}

func (a aggregate) value(i int, reduce string) float64 {
	switch {
	case a.count[i] == 0:
		return math.NaN()
	case reduce == "last":
		return a.last[i]
	case reduce == "max":
		return a.max[i]
	}
	return a.sum[i] / a.count[i]
}

func (a aggregate) clear(i int) { a.sum[i], a.count[i], a.last[i], a.max[i] = 0, 0, 0, 0 }

func newRecorder(of *spec.Spec, probes []probe.Probe, space graph.Space) (*recorder, error) {
	r := &recorder{hash: sha256.New()}
	seen := map[Column]bool{}
	for i, p := range probes {
		ps := of.Probes[i]
		rp := recordedProbe{Probe: p, schedule: ps.Schedule, first: len(r.columns)}
		rp.stepper, _ = p.(probe.Stepper)
		_, rp.traced = p.(probe.Tracer)
		rp.measurer, _ = p.(probe.Measurer)
		rp.tasks, _ = p.(probe.TaskMeasurer)
		if n := b2i(rp.stepper != nil) + b2i(rp.measurer != nil) + b2i(rp.tasks != nil); n != 1 {
			panic(fmt.Sprintf("run: probe %s must be one of a Stepper, a Measurer and a TaskMeasurer", ps.Name))
		}
		for _, c := range p.Columns() {
			c.Metric = ps.Rename(c.Metric)
			if seen[c] {
				return nil, fmt.Errorf("%s: column %s twice", ps.Path, c)
			}
			seen[c] = true
			r.columns = append(r.columns, c)
			r.dense = append(r.dense, rp.stepper != nil && ps.Schedule.Every == 1)
			rp.values = append(rp.values, 0)
		}
		r.probes = append(r.probes, rp)
	}
	for i, c := range r.columns {
		s := Series{Column: c, Values: make([]float32, 0, chunk+1)}
		if !r.dense[i] {
			s.Offsets = make([]uint32, 0, chunk+1)
		}
		r.rows.Series = append(r.rows.Series, s)
	}
	r.task = newAggregate(space.Sub("task"), len(r.columns))
	r.window = newAggregate(space.Sub("window"), len(r.columns))
	return r, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// step records what a training step left behind.
func (r *recorder) step(s *learner.Step) {
	for i := range r.probes {
		p := &r.probes[i]
		if p.stepper == nil {
			continue
		}
		if s.Diverged && p.traced {
			nothing(p.values)
		} else {
			p.stepper.Step(s, p.values)
		}
		due := p.schedule.Every == 0 && s.LastStep && (s.Task+1)%p.schedule.Tasks == 0 || p.schedule.Every > 0 && (s.Index+1)%p.schedule.Every == 0
		for k, v := range p.values {
			c := p.first + k
			if s.Diverged && v != v {
				v = float32(math.NaN()) // windows are in checkpoints: one bit pattern on every machine
			}
			if p.schedule.Every == 1 {
				r.emit(c, s.Index, v)
				continue
			}
			r.window.add(c, v)
			if due {
				r.emit(c, s.Index, float32(r.window.value(c, p.schedule.Reduce)))
				r.window.clear(c)
			}
		}
	}
}

// due reports whether a probe is to measure the learner at rest: before the
// first step of a task (at "start"), after its last (at "end"), or after the
// step of that index.
func (p *recordedProbe) due(index int64, task int, taskStart, taskEnd bool) bool {
	switch {
	case p.stepper != nil:
		return false
	case p.schedule.Every == 0:
		return taskStart && p.schedule.Start(task) || taskEnd && p.schedule.End(task)
	}
	return !taskStart && (index+1)%p.schedule.Every == 0
}

// emit keeps one value.
func (r *recorder) emit(column int, step int64, v float32) {
	if v != v {
		v = float32(math.NaN()) // one bit pattern, for the digest
	}
	s := &r.rows.Series[column]
	if !r.dense[column] {
		s.Offsets = append(s.Offsets, uint32(step-r.rows.First))
	}
	s.Values = append(s.Values, v)
	r.task.add(column, v)

	if r.nhash+16 > len(r.hashed) {
		r.flushHash()
	}
	b := r.hashed[r.nhash:]
	binary.LittleEndian.PutUint64(b, uint64(step))
	binary.LittleEndian.PutUint32(b[8:], uint32(column))
	binary.LittleEndian.PutUint32(b[12:], math.Float32bits(v))
	r.nhash += 16
}

func (r *recorder) flushHash() {
	r.hash.Write(r.hashed[:r.nhash])
	r.nhash = 0
}

// flush hands the gathered rows to the sink. next is the step after the last.
func (r *recorder) flush(next int64, sink Sink) error {
	r.rows.N = next - r.rows.First
	if r.rows.N == 0 {
		return nil
	}
	if err := sink.Rows(r.rows); err != nil {
		return &SinkError{err}
	}
	r.start(next)
	return nil
}

// start begins to gather at a step.
func (r *recorder) start(step int64) {
	r.rows.First = step
	for i := range r.rows.Series {
		s := &r.rows.Series[i]
		s.Values = s.Values[:0]
		if s.Offsets != nil {
			s.Offsets = s.Offsets[:0]
		}
	}
}

// endTask returns the task table's row and the digest of the rows since the
// last task, and starts both anew.
func (r *recorder) endTask() (table []float64, digest [32]byte) {
	table = make([]float64, len(r.columns))
	for _, p := range r.probes {
		for k := range p.values {
			c := p.first + k
			table[c] = r.task.value(c, p.schedule.Reduce)
			r.task.clear(c)
		}
	}
	r.flushHash()
	r.hash.Sum(digest[:0])
	r.hash.Reset()
	return table, digest
}

// hashState and setHashState save and restore the digest in the middle of a
// task.
func (r *recorder) hashState() ([]byte, error) {
	r.flushHash()
	return r.hash.(encoding.BinaryMarshaler).MarshalBinary()
}

func (r *recorder) setHashState(b []byte) error {
	r.nhash = 0
	return r.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(b)
}
