package results

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/cmd/neoteny/internal/cli/chart"
	"neoteny/internal/cluster"
	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// Steps reads per-step data.
type Steps interface {
	// Read calls emit with the values that a run has of a metric, layer after layer, in
	// order of steps. A run without data has none; that is no error.
	Read(ctx context.Context, run Run, metric string, emit func(metric.Points) error) error
}

// FolderSteps reads the per-step data of a folder of results.
type FolderSteps string

// ServiceSteps reads the per-step data of a metrics service.
type ServiceSteps struct{ API pb.MetricsServiceClient }

// stepValue is the part of a row of per-step data that a figure needs.
type stepValue struct {
	Step   int64   `parquet:"step,delta,zstd"`
	Metric string  `parquet:"metric,dict,zstd"`
	Layer  string  `parquet:"layer,dict,zstd"`
	Value  float32 `parquet:"value,zstd"`
}

// Read implements [Steps]. Rows are sorted by metric, so those of one are found by
// bisection.
func (dir FolderSteps) Read(ctx context.Context, run Run, name string, emit func(metric.Points) error) error {
	if !plainName(run.GetTrial()) {
		return fmt.Errorf("trial %q is no name for a folder", run.GetTrial())
	}
	path := filepath.Join(string(dir), "steps", run.GetTrial(), strconv.FormatUint(uint64(run.GetSeed()), 10)+".parquet")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	rows := parquet.NewGenericReader[stepValue](file)
	defer rows.Close()
	if err := readMetric(ctx, rows, name, emit); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readMetric(ctx context.Context, rows *parquet.GenericReader[stepValue], name string, emit func(metric.Points) error) error {
	var failed error
	one := make([]stepValue, 1)
	start := sort.Search(int(rows.NumRows()), func(i int) bool {
		if failed != nil {
			return true
		}
		if failed = rows.SeekToRow(int64(i)); failed == nil {
			if n, err := rows.Read(one); n == 0 {
				failed = err
			}
		}
		return one[0].Metric >= name
	})
	if failed != nil {
		return failed
	}
	if int64(start) == rows.NumRows() {
		return nil
	}
	if err := rows.SeekToRow(int64(start)); err != nil {
		return err
	}
	read, p := make([]stepValue, rowsPerWrite), metric.Points{}
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := rows.Read(read)
		for i := 0; i < n; {
			if read[i].Metric != name {
				return nil
			}
			p.Clear()
			p.Column = metric.Column{Metric: name, Layer: read[i].Layer}
			for ; i < n && read[i].Metric == name && read[i].Layer == p.Layer; i++ {
				p.Steps, p.Values = append(p.Steps, read[i].Step), append(p.Values, read[i].Value)
			}
			if err := emit(p); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == 0:
			return io.ErrNoProgress
		}
	}
}

// Read implements [Steps], of the main track and of those of deferred measurements.
func (s ServiceSteps) Read(ctx context.Context, run Run, name string, emit func(metric.Points) error) error {
	tracks := []string{""}
	for _, b := range run.Table.GetAsides() {
		tracks = append(tracks, cluster.DeferredTrack(b.GetStep()-1))
	}
	for _, t := range tracks {
		err := query(ctx, s.API, &pb.QuerySeriesRequest{Run: run.source(), Track: t, Metrics: []string{name}}, emit)
		if err != nil && status.Code(err) != codes.NotFound {
			return fmt.Errorf("per-step data of %s: %w", run.source(), err)
		}
	}
	return nil
}

// StepRange is the steps [From, To) of a figure; To 0 is the end.
type StepRange struct{ From, To int64 }

// maxBuckets is how many points of a line over steps are drawn.
const maxBuckets = 240

// StepFigure draws a metric over steps, nil where nothing was measured at steps.
func (r *Result) StepFigure(ctx context.Context, steps Steps, sel Selection, over StepRange) (*chart.Figure, error) {
	b := &bucketing{from: over.From}
	end := int64(0)
	perTask, tasks := int64(0), int32(0)
	for _, s := range sel.shown {
		for _, run := range r.runsOf(s.arm, s.trial) {
			end = max(end, run.GetSteps())
			if run.GetTasks() > tasks {
				tasks, perTask = run.GetTasks(), run.GetSteps()/int64(run.GetTasks())
			}
		}
	}
	if over.To > 0 {
		end = min(end, over.To)
	}
	if end <= b.from {
		return nil, nil
	}
	b.size = max((end-b.from+maxBuckets-1)/maxBuckets, 1)
	b.n = int((end - b.from + b.size - 1) / b.size)
	w := r.describe(sel.Metric)
	panels := map[string]chart.Lines{}
	for i, s := range sel.shown {
		seeds := map[string][]*buckets{} // by layer
		for _, run := range r.runsOf(s.arm, s.trial) {
			layers := map[string]*buckets{}
			err := steps.Read(ctx, run, sel.Metric, func(p metric.Points) error {
				if sel.Layer != nil && *sel.Layer != p.Layer {
					return nil
				}
				if layers[p.Layer] == nil {
					layers[p.Layer] = b.new()
					seeds[p.Layer] = append(seeds[p.Layer], layers[p.Layer])
				}
				b.add(layers[p.Layer], p)
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		for layer, all := range seeds {
			c := b.curve(all)
			if c.Entry = i; !c.Measured() {
				continue
			}
			lines := panels[layer]
			lines.Curves = append(lines.Curves, c)
			panels[layer] = lines
		}
	}
	if len(panels) == 0 {
		return nil, nil
	}
	log := sel.logarithmic(w, meansOf(panels))
	shades := dropShades(panels, w)
	if len(sel.shown) > maxShaded && b.size > 1 {
		shades = linesOnly(panels)
	}
	marks := taskMarks(b.from, end, perTask)
	for layer, lines := range panels {
		lines.Marks = marks
		panels[layer] = lines
	}
	f := &chart.Figure{
		Title: w.Title + " of " + r.Experiment.GetId(), Legend: legend(sel.shown),
		X: chart.Axis{Label: "Training step", Whole: true}, Y: w.axis(log),
	}
	f.Notes = []string{strings.Join(b.notes(sel, shades, len(marks) > 0), " ")}
	r.addPanels(f, panels)
	f.Notes = append(f.Notes, logNote(log, panels)...)
	return f, nil
}

// maxMarks is how many beginnings of tasks are marked at most.
const maxMarks = 40

// taskMarks are the steps at which tasks begin, none where they would fill the panel.
func taskMarks(from, end, perTask int64) (marks []float64) {
	if perTask <= 0 || (end-from)/perTask > maxMarks {
		return nil
	}
	for s := (from/perTask + 1) * perTask; s < end; s += perTask {
		marks = append(marks, float64(s))
	}
	return marks
}

func (b *bucketing) notes(sel Selection, shades shading, marks bool) []string {
	low, high, two := seedCounts(sel.shown, sel.Metric)
	over := "One seed."
	switch {
	case high > 1 && low == high:
		over = fmt.Sprintf("Lines: mean over %d seeds.", high)
	case high > 1:
		over = fmt.Sprintf("Lines: mean over %d to %d seeds.", low, high)
	}
	notes := []string{over}
	if b.size > 1 {
		notes = append(notes, fmt.Sprintf("Thinned: each point is the mean of what was measured in %d steps.", b.size))
	}
	if shades.drawn {
		notes = append(notes, "Shades: from the smallest to the largest of these values, of any seed.")
	}
	switch {
	case shades.left && len(sel.shown) > maxShaded:
		notes = append(notes, fmt.Sprintf("With more than %d arms their extremes and single seeds are left out.", maxShaded))
		two = false
	case shades.left:
		notes = append(notes, "Shades that would fill the picture are left out.")
	}
	if two {
		notes = append(notes, "Thin lines: the single seeds.")
	}
	if marks {
		notes = append(notes, "Upright lines: where a task begins.")
	}
	return notes
}

// bucketing cuts steps into buckets, for more values than a picture has columns.
type bucketing struct {
	from, size int64
	n          int
}

// buckets are the values of one run.
type buckets struct{ sum, count, steps, low, high []float64 }

func (b *bucketing) new() *buckets {
	v := &buckets{make([]float64, b.n), make([]float64, b.n), make([]float64, b.n), make([]float64, b.n), make([]float64, b.n)}
	for i := range v.low {
		v.low[i], v.high[i] = math.Inf(1), math.Inf(-1)
	}
	return v
}

func (b *bucketing) add(to *buckets, p metric.Points) {
	for i, step := range p.Steps {
		k := (step - b.from) / b.size
		v := float64(p.Values[i])
		if step < b.from || k >= int64(b.n) || math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		to.sum[k] += v
		to.steps[k] += float64(step)
		to.count[k]++
		to.low[k], to.high[k] = min(to.low[k], v), max(to.high[k], v)
	}
}

// curve is the mean over seeds of the buckets in which anything was measured, between
// the smallest and the largest value.
func (b *bucketing) curve(seeds []*buckets) chart.Curve {
	var c chart.Curve
	single := make([][]float64, len(seeds))
	for k := range b.n {
		sum, n, step, count := 0.0, 0.0, 0.0, 0.0
		low, high := math.Inf(1), math.Inf(-1)
		for _, s := range seeds {
			if s.count[k] > 0 {
				sum, n = sum+s.sum[k]/s.count[k], n+1
				step, count = step+s.steps[k], count+s.count[k]
				low, high = min(low, s.low[k]), max(high, s.high[k])
			}
		}
		if n == 0 {
			continue
		}
		for i, s := range seeds {
			single[i] = append(single[i], s.sum[k]/s.count[k]) // NaN where nothing was measured
		}
		c.X, c.Mean = append(c.X, step/count), append(c.Mean, sum/n)
		c.Low, c.High = append(c.Low, low), append(c.High, high)
	}
	if len(seeds) == fewSeeds-1 {
		c.Seeds = single
	}
	if b.size == 1 && len(seeds) < fewSeeds {
		c.Low, c.High = nil, nil
	}
	return c
}

// shading says whether a figure has shades, and whether some were left out.
type shading struct{ drawn, left bool }

// maxShaded is how many arms are drawn with shades and single seeds, of which more
// would hide each other.
const maxShaded = 6

// linesOnly leaves out all shades and single seeds.
func linesOnly(panels map[string]chart.Lines) shading {
	for _, l := range panels {
		for i := range l.Curves {
			l.Curves[i].Low, l.Curves[i].High, l.Curves[i].Seeds = nil, nil, nil
		}
	}
	return shading{left: true}
}

// dropShades leaves out the shades that would fill most of the picture, as those of
// single answers do, each of which is right or wrong: they say nothing and hide the rest.
func dropShades(panels map[string]chart.Lines, w words) (s shading) {
	lines := meansOf(panels)
	bottom, top := w.Range.Ends()
	room := (lines.high - lines.low) / 3
	bottom, top = max(bottom, lines.low-room), min(top, lines.high+room)
	for _, l := range panels {
		for i := range l.Curves {
			c, full := &l.Curves[i], 0
			for k := range c.Low {
				if c.Low[k] <= bottom && c.High[k] >= top {
					full++
				}
			}
			switch {
			case full*2 > len(c.Low):
				c.Low, c.High, s.left = nil, nil, true
			case len(c.Low) > 0:
				s.drawn = true
			}
		}
	}
	return s
}
