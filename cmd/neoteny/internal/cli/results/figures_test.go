package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/cmd/neoteny/internal/cli/chart"
	"neoteny/internal/metric"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// made is a result of an experiment file: value gives what a run has measured.
func made(t *testing.T, file string, tasks int, columns []*pb.ColumnName, runs []*pb.Run, value func(run *pb.Run, task, column int) float64) *Result {
	t.Helper()
	spec, err := experiment.Parse([]byte(file))
	require.NoError(t, err)
	r := &Result{Experiment: &pb.Experiment{Id: spec.GetName() + "-1", Spec: spec}}
	for _, run := range runs {
		run.Id = fmt.Sprintf("%s/%s/%d", r.Experiment.GetId(), run.GetTrial(), run.GetSeed())
		run.Tasks, run.Steps = int32(tasks), int64(100*tasks)
		table := &pb.TaskTable{Columns: columns}
		for task := range tasks {
			row := &pb.TaskRow{Task: int32(task)}
			for c := range columns {
				row.Values = append(row.Values, value(run, task, c))
			}
			table.Rows = append(table.Rows, row)
		}
		r.Runs = append(r.Runs, Run{Run: run, Table: table})
	}
	require.NoError(t, r.summarize())
	return r
}

func done(arm string, seeds int) (runs []*pb.Run) {
	for s := range seeds {
		runs = append(runs, &pb.Run{Arm: arm, Trial: arm, Seed: uint32(s), State: pb.RunState_RUN_STATE_DONE})
	}
	return runs
}

const figuresFile = `name: fig
stream: {kind: bit-flip-regression}
learner: {kind: supervised}
probes: [{kind: online-accuracy}, {kind: test-accuracy, as: first_accuracy, every: 10 tasks, at: start}, {kind: loss, reduce: last}]
arms: {zeta: {learner: {}}, plain: {}, alpha: {learner: {}}, lost: {learner: {}}}
`

func TestTaskFigureInWords(t *testing.T) {
	runs := append(append(done("alpha", 2), done("zeta", 5)...), done("plain", 1)...)
	for _, run := range done("lost", 5) {
		run.State = pb.RunState_RUN_STATE_DIVERGED
		runs = append(runs, run)
	}
	r := made(t, figuresFile, 3, []*pb.ColumnName{{Metric: "online_accuracy"}, {Metric: "first_accuracy"}, {Metric: "loss"}}, runs, func(run *pb.Run, task, _ int) float64 {
		return 1 - .1*float64(task)*float64(run.GetSeed()+1)/5
	})
	sel, err := r.Select("online-accuracy", nil, nil)
	require.NoError(t, err)
	f := r.TaskFigure(sel)
	require.Equal(t, "Online accuracy of fig-1", f.Title)
	require.Equal(t, chart.Axis{Label: "Online accuracy (share of examples)", Low: 0, High: 1}, f.Y)
	require.Equal(t, []chart.Entry{{Name: "plain"}, {Name: "zeta"}, {Name: "alpha"}, {Name: "lost", Note: "all 5 seeds diverged"}}, f.Legend, "the baseline, then the order of the file")
	require.Equal(t, []string{"Mean over each task. Lines: mean over 1 to 5 seeds. Bands: pointwise 95 % interval of the mean (Student's t), cut off at the edges. Thin lines: the single seeds."}, f.Notes)
	curves := f.Panels[0].Content.(chart.Lines).Curves
	require.Len(t, curves, 3)
	require.Nil(t, curves[0].Low, "one seed has no band")
	require.NotNil(t, curves[1].Low)
	require.Nil(t, curves[2].Low, "two seeds are thin lines")
	require.Equal(t, [][]float64{{1, .98, .96}, {1, .96, .92}}, curves[2].Seeds)

	yes := true
	logOf := map[string]*bool{"loss": &yes}
	for metric, want := range map[string][2]string{
		"loss":           {"Loss", "Last value of each task."},
		"first_accuracy": {"First accuracy (share of examples)", "At the start of every 10 tasks."},
	} {
		sel, err := r.Select(metric, []string{"alpha", "plain"}, logOf[metric])
		require.NoError(t, err)
		f := r.TaskFigure(sel)
		require.Equal(t, want[0], f.Y.Label)
		require.True(t, strings.HasPrefix(f.Notes[0], want[1]), f.Notes[0])
		require.Equal(t, metric == "loss", f.Y.Log)
		require.Equal(t, []chart.Entry{{Name: "alpha"}, {Name: "plain"}}, f.Legend, "as they are asked for")
		require.NoError(t, f.WriteSVG(&bytes.Buffer{}))
	}
	_, err = r.Select("frst_accuracy", nil, nil)
	require.EqualError(t, err, `no metric "frst_accuracy" in fig-1, did you mean "first_accuracy"? (have: first_accuracy, loss, online_accuracy)`)
	_, err = r.Select("loss/hidden1", nil, nil)
	require.ErrorContains(t, err, `no layer "hidden1" of loss`)
	_, err = r.Select("loss", []string{"alfa"}, nil)
	require.EqualError(t, err, `no arm "alfa" in fig-1, did you mean "alpha"? (have: plain, zeta, alpha, lost)`)
}

func TestSparseTasksAreJoined(t *testing.T) {
	r := made(t, figuresFile, 30, []*pb.ColumnName{{Metric: "first_accuracy"}}, append(done("zeta", 2), done("plain", 2)...), func(run *pb.Run, task, _ int) float64 {
		if task%10 > 0 || task == 10 && run.GetArm() == "zeta" {
			return math.NaN()
		}
		return float64(task) / 100
	})
	sel, err := r.Select("first_accuracy", nil, nil)
	require.NoError(t, err)
	curves := r.TaskFigure(sel).Panels[0].Content.(chart.Lines).Curves
	require.Equal(t, []float64{0, 10, 20}, curves[0].X)
	require.Equal(t, []float64{0, .1, .2}, curves[0].Mean)
	require.Equal(t, []float64{0, 10, 20}, curves[1].X)
	require.True(t, math.IsNaN(curves[1].Mean[1]), "what others have measured is a gap")
	require.Len(t, curves[0].Seeds[0], 3)
}

// Where one arm explodes a linear axis would show nothing of the others.
func TestAxisIsLogarithmicWhereValuesNeedIt(t *testing.T) {
	r := made(t, figuresFile, 3, []*pb.ColumnName{{Metric: "loss"}, {Metric: "online_accuracy"}}, append(done("zeta", 3), done("plain", 3)...), func(run *pb.Run, task, c int) float64 {
		if run.GetArm() == "zeta" {
			return 1
		}
		return 1e-4
	})
	for _, metric := range []string{"loss", "online_accuracy"} {
		sel, err := r.Select(metric, nil, nil)
		require.NoError(t, err)
		require.Equal(t, metric == "loss", r.TaskFigure(sel).Y.Log, "a share has an end")
		no := false
		sel.Log = &no
		require.False(t, r.TaskFigure(sel).Y.Log)
	}
}

func TestManyArmsOverStepsAreLinesOnly(t *testing.T) {
	panels := map[string]chart.Lines{"": {Curves: []chart.Curve{{Mean: []float64{1}, Low: []float64{0}, High: []float64{2}, Seeds: [][]float64{{1}, {1}}}}}}
	require.Equal(t, shading{left: true}, linesOnly(panels))
	require.Equal(t, chart.Curve{Mean: []float64{1}}, panels[""].Curves[0])
	b := &bucketing{size: 5}
	notes := strings.Join(b.notes(Selection{shown: make([]shownCurve, 0)}, shading{left: true}, false), " ")
	require.Contains(t, notes, "Shades that would fill the picture are left out.")
}

func TestMatrixFigure(t *testing.T) {
	columns := []*pb.ColumnName{{Metric: "task_accuracy", Layer: "task0"}, {Metric: "task_accuracy", Layer: "task1"}, {Metric: "task_accuracy", Layer: "task10"}}
	r := made(t, figuresFile, 2, columns, append(done("zeta", 2), done("plain", 2)...), func(run *pb.Run, task, c int) float64 {
		if c == 2 {
			return math.NaN()
		}
		return .5 + .1*float64(task) + .01*float64(c) + .001*float64(run.GetSeed())
	})
	sel, err := r.Select("task_accuracy", nil, nil)
	require.NoError(t, err)
	f := r.TaskFigure(sel)
	require.Equal(t, "plain", f.Panels[0].Title)
	heat := f.Panels[0].Content.(chart.Heat)
	require.InDeltaSlice(t, []float64{.6005, .6105}, heat.Values[1][:2], 1e-12)
	require.Len(t, heat.Values[0], 11, "tasks stand in the order of numbers, not of words")
	require.Equal(t, [2]float64{.5, .7}, [2]float64{f.Ramp.Low, f.Ramp.High})
	require.Equal(t, []string{"Mean over 2 seeds."}, f.Notes)
	one := "task1"
	sel.Layer = &one
	require.IsType(t, chart.Lines{}, r.TaskFigure(sel).Panels[0].Content, "one layer is a line over tasks")
}

func TestSweepFigures(t *testing.T) {
	var runs []*pb.Run
	n := 0
	for _, lr := range []string{"0.1", "0.001"} {
		for _, lambda := range []string{"0", "0.0001", "0.01"} {
			for _, act := range []string{`"relu"`, `"tanh"`} {
				for seed := range uint32(2) {
					runs = append(runs, &pb.Run{Arm: "plain", Trial: fmt.Sprintf("plain-%04d", n), Seed: seed, State: pb.RunState_RUN_STATE_DONE, Params: map[string]string{
						"learner.optimizer.lr": lr, "learner.methods[l2].lambda": lambda, "learner.network.activation": act, "stream.batch": "4",
					}})
				}
				n++
			}
		}
	}
	runs[0].State = pb.RunState_RUN_STATE_DIVERGED
	r := made(t, figuresFile, 2, []*pb.ColumnName{{Metric: "online_accuracy"}}, runs, func(run *pb.Run, task, _ int) float64 { return .5 + .1*float64(task) })
	require.True(t, r.Swept())
	sel, err := r.Select("online_accuracy", nil, nil)
	require.NoError(t, err)
	f := r.SweepFigure(sel)
	require.Len(t, f.Panels, 3, "what has one value was not swept")
	require.Equal(t, chart.Axis{Label: "λ (learner.methods[l2].lambda)", Names: []string{"0", "1e-4", "0.01"}}, *f.Panels[0].X, "0 has no place on a logarithmic axis")
	require.Equal(t, []string{"relu", "tanh"}, f.Panels[1].X.Names)
	require.Equal(t, chart.Axis{Label: "lr (learner.optimizer.lr)", Log: true, Marks: []float64{.1, .001}}, *f.Panels[2].X)
	points := f.Panels[2].Content.(chart.Points)
	require.Equal(t, .001, points.Groups[0].X)
	require.Len(t, points.Groups[0].Values, 12, "every seed is a point")
	require.Len(t, points.Groups[1].Values, 11)
	require.InDelta(t, .55, points.Groups[0].Values[0], 1e-12)
	require.Contains(t, f.Notes[0], "Mean over tasks of the mean over each task. Each point is a seed")
	require.Contains(t, f.Notes[0], "One run has no value")
	require.NoError(t, f.WriteSVG(&bytes.Buffer{}))
	p := r.ParallelFigure(sel).Panels[0].Content.(chart.Parallel)
	require.Len(t, p.Lines, 12)
	require.Len(t, p.Axes, 4)
	require.NoError(t, r.ParallelFigure(sel).WriteSVG(&bytes.Buffer{}))
	var names []string
	for _, f := range r.figures() {
		names = append(names, f.Name)
	}
	require.Equal(t, []string{"online_accuracy", "online_accuracy-sweep", "online_accuracy-parallel"}, names)
}

// What is drawn over steps is the same from a folder as from the service, and a folder
// gives back the result that it was written from.
func TestStepFigureAndOpenFolder(t *testing.T) {
	api, metrics := newFake().dial(t)
	r, err := Fetch(t.Context(), api, id)
	require.NoError(t, err)
	dir, err := r.WriteFolder(t.Context(), t.TempDir(), metrics)
	require.NoError(t, err)
	back, err := OpenFolder(dir)
	require.NoError(t, err)
	require.Equal(t, r.Experiment.GetId(), back.Experiment.GetId())
	want, err := json.Marshal(r.Summary)
	require.NoError(t, err)
	got, err := json.Marshal(back.Summary)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
	for _, m := range []string{"online_accuracy", "dormant_units"} {
		sel, err := r.Select(m, nil, nil)
		require.NoError(t, err)
		a, err := r.StepFigure(t.Context(), ServiceSteps{metrics}, sel, StepRange{})
		require.NoError(t, err)
		sel, err = back.Select(m, nil, nil)
		require.NoError(t, err)
		b, err := back.StepFigure(t.Context(), FolderSteps(dir), sel, StepRange{})
		require.NoError(t, err)
		require.Equal(t, a, b)
		require.Equal(t, "Training step", a.X.Label)
		require.Contains(t, a.Notes[0], "Lines: mean over 3 seeds.")
	}
	sel, err := back.Select("online_accuracy", nil, nil)
	require.NoError(t, err)
	f, err := back.StepFigure(t.Context(), FolderSteps(dir), sel, StepRange{From: 1, To: 3})
	require.NoError(t, err)
	c := f.Panels[0].Content.(chart.Lines).Curves[0]
	require.Equal(t, []float64{1, 2}, c.X)
	require.Equal(t, []float64{.25, 1}, c.Mean)
	f, err = back.StepFigure(t.Context(), FolderSteps(dir), sel, StepRange{From: 7000})
	require.NoError(t, err)
	require.Nil(t, f)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "tasks.csv"), []byte("arm,trial,seed,task,metric,layer,value\nl2,l2,0,x,loss,,1\n"), 0o644))
	_, err = OpenFolder(dir)
	require.ErrorContains(t, err, `tasks.csv: line 2: task "x" is not a number of a task`)
	_, err = OpenFolder(t.TempDir())
	require.ErrorContains(t, err, "is no folder of results")
}

// The per-step data of a reused run are those of the run that it was taken from.
func TestServiceStepsOfReusedRun(t *testing.T) {
	f := newFake()
	_, metrics := f.dial(t)
	run := Run{Run: &pb.Run{Id: id + "/l2/3", Reused: "earlier-abc123/l2/3"}}
	var got []float32
	err := ServiceSteps{metrics}.Read(t.Context(), run, "online_accuracy", func(p metric.Points) error {
		got = append(got, p.Values...)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []float32{.5, .25, 1}, got)
}

func TestBucketsKeepExtremes(t *testing.T) {
	b := &bucketing{from: 10, size: 10, n: 3}
	one, two := b.new(), b.new()
	b.add(one, metric.Points{Steps: []int64{9, 10, 19, 35, 40}, Values: []float32{99, 1, 3, -7, 99}})
	b.add(two, metric.Points{Steps: []int64{10, 36}, Values: []float32{8, float32(math.Inf(1))}})
	c := b.curve([]*buckets{one, two})
	require.Equal(t, []float64{13, 35}, c.X, "empty buckets are no gaps")
	require.Equal(t, []float64{5, -7}, c.Mean, "seeds count alike")
	require.Equal(t, []float64{1, -7}, c.Low)
	require.Equal(t, []float64{8, -7}, c.High)
	require.Equal(t, [2]float64{2, -7}, [2]float64{c.Seeds[0][0], c.Seeds[0][1]})

	panels := map[string]chart.Lines{"": {Curves: []chart.Curve{
		{Mean: []float64{.4, .6}, Low: []float64{0, 0}, High: []float64{1, 1}}, {Mean: []float64{.5, .5}, Low: []float64{.4, .4}, High: []float64{.6, .6}},
	}}}
	require.Equal(t, shading{drawn: true, left: true}, dropShades(panels, words{}))
	require.Nil(t, panels[""].Curves[0].Low)
	require.NotNil(t, panels[""].Curves[1].Low)
}
