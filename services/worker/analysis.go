package worker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// analysisProgram makes lives of one step, in which an analysis is run. So an
// analysis is assigned, fenced, committed and measured as a run is.
type analysisProgram struct {
	spec *experiment.AnalysisSpec
	data data.Source
}

func (p analysisProgram) New(o origin) (life, error) {
	l := &analysisLife{spec: p.spec, env: analysis.Env{Inputs: map[string][]analysis.Given{}, Data: p.data}}
	for _, in := range o.inputs {
		_, _, seed, err := experiment.SplitRunID(in.GetRun())
		if err != nil {
			return nil, err
		}
		g := analysis.Given{Seed: seed, File: in.file, Spec: p.spec.Sources[in.GetName()]}
		if in.GetArtifact() == analysis.Table {
			if g.Table, err = columnsOf(in.file); err != nil {
				return nil, fmt.Errorf("task table of run %s: %w", in.GetRun(), err)
			}
			g.File = nil
		}
		l.env.Inputs[in.GetName()] = append(l.env.Inputs[in.GetName()], g)
	}
	for _, m := range p.spec.Info.Metrics {
		l.columns = append(l.columns, engine.Column{Metric: m})
	}
	return l, nil
}

func columnsOf(file []byte) (*analysis.Columns, error) {
	t := &pb.TaskTable{}
	if err := proto.Unmarshal(file, t); err != nil {
		return nil, err
	}
	out := analysis.Columns{}
	for i, c := range t.GetColumns() {
		name := c.GetMetric()
		if c.GetLayer() != "" {
			name += "/" + c.GetLayer()
		}
		for _, r := range t.GetRows() {
			if len(r.GetValues()) != len(t.GetColumns()) {
				return nil, fmt.Errorf("%d values in %d columns", len(r.GetValues()), len(t.GetColumns()))
			}
			out[name] = append(out[name], r.GetValues()[i])
		}
	}
	return &out, nil
}

// analysisLife is a run of an analysis.
type analysisLife struct {
	spec    *experiment.AnalysisSpec
	env     analysis.Env
	columns []engine.Column
	result  *analysis.Result // once the step is made
}

func (l *analysisLife) Step() int64 {
	if l.result == nil {
		return 0
	}
	return 1
}

func (l *analysisLife) Columns() []engine.Column { return l.columns }

// Advance runs the analysis. What it gives is its only row; the digests are over
// the artifacts and over the metrics, by name.
func (l *analysisLife) Advance(ctx context.Context, until int64, sink engine.Sink) error {
	if until != 1 || l.result != nil {
		return fmt.Errorf("an analysis has one step, not [%d, %d)", l.Step(), until)
	}
	env := l.env
	env.Context = ctx
	r, err := l.spec.Run(env)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	b := engine.Boundary{Step: 1}
	rows := engine.Rows{N: 1}
	measured := sha256.New()
	for _, c := range l.columns {
		v := r.Metrics[c.Metric]
		if v != v {
			v = math.NaN() // one bit pattern
		}
		var bits [8]byte
		binary.LittleEndian.PutUint64(bits[:], math.Float64bits(v))
		fmt.Fprintf(measured, "%s\n", c.Metric)
		measured.Write(bits[:])
		b.Table = append(b.Table, v)
		rows.Series = append(rows.Series, engine.Series{Column: c, Values: []float32{float32(v)}})
	}
	measured.Sum(b.Rows[:0])
	left := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(r.Artifacts)) {
		sum := sha256.Sum256(r.Artifacts[name])
		fmt.Fprintf(left, "%s %x\n", name, sum)
	}
	left.Sum(b.State[:0])
	if err := sink.Rows(rows); err != nil {
		return &engine.SinkError{Err: err}
	}
	if err := sink.Boundary(b); err != nil {
		return &engine.SinkError{Err: err}
	}
	l.result = r
	return nil
}

// Save writes nothing to go on from: there is no second step.
func (l *analysisLife) Save(w io.Writer) error {
	_, err := io.WriteString(w, "analysis\n")
	return err
}

// Load refuses: no coordinator asks for it.
func (l *analysisLife) Load([]byte) error { return errors.New("an analysis has one step") }

// Artifact implements life.
func (l *analysisLife) Artifact(name string) ([]byte, error) {
	b, ok := l.result.Artifacts[name]
	if !ok {
		return nil, fmt.Errorf("publish %s: the analysis has no such artifact", name)
	}
	return b, nil
}
