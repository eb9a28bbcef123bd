package results

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a coordinator and a metrics service with one experiment.
type fake struct {
	pb.UnimplementedExperimentServiceServer
	pb.UnimplementedMetricsServiceServer
	experiment *pb.Experiment
	runs       []Run
	breakSteps error
}

const id = "quick-7"

func newFake() *fake {
	spec := &pb.ExperimentSpec{Name: "quick", Stream: &structpb.Struct{Fields: map[string]*structpb.Value{"kind": structpb.NewStringValue("bit-flip-regression")}}, Claims: []*pb.Claim{
		{Name: "l2 is better", Value: `arms["l2"].online_accuracy.mean() - arms["backprop"].online_accuracy.mean()`, Holds: &pb.Bound{Gt: proto.Float64(0)}},
		{Name: "nothing to see", Value: `arms["l2"].online_accuracy.mean()`, Holds: &pb.Bound{Gt: proto.Float64(5)}},
	}}
	f := &fake{experiment: &pb.Experiment{
		Id: id, Spec: spec, State: pb.ExperimentState_EXPERIMENT_STATE_FAILED, CreatedAt: &timestamppb.Timestamp{Seconds: 1_800_000_000},
		Progress: &pb.Progress{Runs: 7, RunsDone: 6, RunsFailed: 1, StepsDone: 1234, TasksDone: 18},
	}}
	for i, arm := range []string{"l2", "backprop"} { // not in order
		for seed := range uint32(3) {
			table := &pb.TaskTable{Columns: []*pb.ColumnName{{Metric: "online_accuracy"}, {Metric: "online_accuracy", Layer: "head0"}, {Metric: "dormant_units", Layer: "hidden0"}, {Metric: "dormant_units", Layer: "hidden1"}}}
			for task := range int32(3) {
				v := .9 - .1*float64(i)*float64(task) + .01*float64(seed)
				dormant := math.NaN() // not measured at the first task
				if task > 0 {
					dormant = float64(task)
				}
				table.Rows = append(table.Rows, &pb.TaskRow{Task: task, Values: []float64{v, v, dormant, 2 * dormant}})
			}
			f.runs = append(f.runs, Run{Run: &pb.Run{
				Id: fmt.Sprintf("%s/%s/%d", id, arm, seed), Experiment: id, Arm: arm, Trial: arm, Seed: seed, State: pb.RunState_RUN_STATE_DONE,
				RunKey: "key" + arm, Digest: "digest" + arm, NumericsVersion: 1, Tasks: 3, TasksDone: 3, Steps: 300, StepsDone: 300, Seconds: 1.5,
				Params: map[string]string{"learner.optimizer.lr": "0.01"},
			}, Table: table})
		}
	}
	f.runs = append(f.runs, Run{Run: &pb.Run{Id: id + "/l2/3", Experiment: id, Arm: "l2", Trial: "l2", Seed: 3, State: pb.RunState_RUN_STATE_FAILED, Message: "step 12: loss is\nNaN"}, Table: &pb.TaskTable{}})
	return f
}

func (f *fake) GetExperiment(_ context.Context, r *pb.GetExperimentRequest) (*pb.GetExperimentResponse, error) {
	if r.GetId() != id {
		return nil, status.Errorf(codes.NotFound, "no experiment %q", r.GetId())
	}
	return &pb.GetExperimentResponse{Experiment: f.experiment}, nil
}

func (f *fake) ListRuns(_ context.Context, r *pb.ListRunsRequest) (*pb.ListRunsResponse, error) {
	at := len(r.GetPageToken()) // pages of two, the token is as long as the offset
	end := min(at+2, len(f.runs))
	out := &pb.ListRunsResponse{}
	for _, run := range f.runs[at:end] {
		out.Runs = append(out.Runs, run.Run)
	}
	if end < len(f.runs) {
		out.NextPageToken = strings.Repeat("x", end)
	}
	return out, nil
}

func (f *fake) GetRun(_ context.Context, r *pb.GetRunRequest) (*pb.GetRunResponse, error) {
	for _, run := range f.runs {
		if run.GetId() == r.GetId() {
			return &pb.GetRunResponse{Run: run.Run, Table: run.Table}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "no run %q", r.GetId())
}

func (f *fake) QuerySeries(r *pb.QuerySeriesRequest, s grpc.ServerStreamingServer[pb.QuerySeriesResponse]) error {
	if f.breakSteps != nil {
		return f.breakSteps
	}
	if name, ok := strings.CutPrefix(r.GetTrack(), "aside-"); ok {
		step, _ := strconv.ParseInt(name, 10, 64)
		for _, metric := range []string{"hessian_trace", "zeta"} {
			if err := s.Send(&pb.QuerySeriesResponse{Metric: metric, Steps: []int64{step}, Values: []float32{float32(step)}}); err != nil {
				return err
			}
		}
		return nil
	}
	if r.GetRun() == id+"/l2/3" {
		return status.Error(codes.NotFound, "nothing of that run")
	}
	for _, piece := range []*pb.QuerySeriesResponse{
		{Metric: "dormant_units", Layer: "hidden0", Steps: []int64{99, 199}, Values: []float32{1, 2}},
		{Metric: "online_accuracy", Steps: []int64{0, 1}, Values: []float32{.5, .25}},
		{Metric: "online_accuracy", Steps: []int64{2}, Values: []float32{1}},
	} {
		if len(r.GetMetrics()) > 0 && !slices.Contains(r.GetMetrics(), piece.GetMetric()) {
			continue
		}
		if err := s.Send(piece); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) dial(t *testing.T) (pb.ExperimentServiceClient, pb.MetricsServiceClient) {
	lis, srv := bufconn.Listen(1<<20), grpc.NewServer()
	pb.RegisterExperimentServiceServer(srv, f)
	pb.RegisterMetricsServiceServer(srv, f)
	go func() { _ = srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		srv.Stop()
	})
	return pb.NewExperimentServiceClient(conn), pb.NewMetricsServiceClient(conn)
}

func TestText(t *testing.T) {
	api, _ := newFake().dial(t)
	r, err := Fetch(t.Context(), api, id)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, r.WriteText(&b))
	require.Equal(t, `quick-7: failed, 6 of 7 runs done, 1 failed

Mean and 95 % interval over seeds, arms ranked
METRIC                 ARM               MEAN OVER TASKS  LAST TASK       SEEDS
dormant_units/hidden0  backprop lr=0.01  1.500 ± 0        2.000 ± 0           3
                       l2 lr=0.01        1.500 ± 0        2.000 ± 0      3 of 4
dormant_units/hidden1  backprop lr=0.01  3.000 ± 0        4.000 ± 0           3
                       l2 lr=0.01        3.000 ± 0        4.000 ± 0      3 of 4
online_accuracy        l2 lr=0.01        0.910 ± 0.025    0.910 ± 0.025  3 of 4
                       backprop lr=0.01  0.810 ± 0.025    0.710 ± 0.025       3

Claims
VERDICT       CLAIM           VALUE          HOLDS IF   SEEDS  NOTE
held          l2 is better    0.1000 ± 0     > 0       3 of 4  1 of 4 seeds lack a finished run
did not hold  nothing to see  0.910 ± 0.025  > 5       3 of 4  1 of 4 seeds lack a finished run

Failed runs
quick-7/l2/3: step 12: loss is NaN
`, b.String())
}

func TestRanking(t *testing.T) {
	arms := func(sel *pb.Select, metric string, means ...report.Number) string {
		r := &Result{Experiment: &pb.Experiment{Spec: &pb.ExperimentSpec{Select: sel}}, Summary: &report.Summary{}}
		for i, mean := range means {
			name := string(rune('a' + i))
			r.Summary.Arms = append(r.Summary.Arms, report.Arm{Arm: name, Selected: name, Trials: []report.Trial{{
				Trial: name, Metrics: []report.Metric{{Metric: metric, Interval: report.Interval{Mean: mean, Low: mean - 1, High: mean + 1}}},
			}}})
		}
		order := ""
		for _, row := range r.armTable().Rows {
			order += row[1]
		}
		return order
	}
	nan := report.Number(math.NaN())
	require.Equal(t, "cadb", arms(nil, "online_accuracy", 2, nan, 3, 1))
	require.Equal(t, "dacb", arms(nil, "loss", 2, nan, 3, 1))
	require.Equal(t, "dacb", arms(nil, "dormant_units", 2, nan, 3, 1))
	require.Equal(t, "dac", arms(&pb.Select{Metric: "return", Mode: "min"}, "return", 2, 5, 3, 1)[:3])
	require.Equal(t, "bcad", arms(&pb.Select{Metric: "loss", Mode: "max"}, "loss", 2, 5, 3, 1))
}

// What was measured later is among the per-step data, in its place, and a run that
// lacks some of it says so.
// stepOf is a row of the per-step data as others read it.
type stepOf struct {
	Step   int64   `parquet:"step"`
	Metric string  `parquet:"metric"`
	Layer  string  `parquet:"layer"`
	Value  float32 `parquet:"value"`
}

func TestAsides(t *testing.T) {
	f := newFake()
	api, metrics := f.dial(t)
	for _, run := range f.runs {
		switch run.GetId() {
		case id + "/backprop/0":
			run.Table.Asides = []*pb.Boundary{{Task: 0, Step: 100}, {Task: 1, Step: 200}}
		case id + "/backprop/1":
			run.Message = "1 of 2 deferred measurements failed, the first at step 99: no"
		}
	}
	r, err := Fetch(t.Context(), api, id)
	require.NoError(t, err)
	dir, err := r.WriteFolder(t.Context(), t.TempDir(), metrics)
	require.NoError(t, err)
	rows, err := parquet.ReadFile[stepOf](filepath.Join(dir, "steps/backprop/0.parquet"))
	require.NoError(t, err)
	require.Equal(t, []stepOf{
		{99, "dormant_units", "hidden0", 1}, {199, "dormant_units", "hidden0", 2},
		{99, "hessian_trace", "", 99}, {199, "hessian_trace", "", 199},
		{0, "online_accuracy", "", .5}, {1, "online_accuracy", "", .25}, {2, "online_accuracy", "", 1},
		{99, "zeta", "", 99}, {199, "zeta", "", 199},
	}, rows)
	var b bytes.Buffer
	require.NoError(t, r.WriteText(&b))
	require.Contains(t, b.String(), "\nRuns that lack measurements\nquick-7/backprop/1 (lr=0.01): 1 of 2 deferred measurements failed, the first at step 99: no\n")
}

func TestFolder(t *testing.T) {
	api, metrics := newFake().dial(t)
	r, err := Fetch(t.Context(), api, id)
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "deep", "results")
	require.NoError(t, CheckWritable(out))
	dir, err := r.WriteFolder(t.Context(), out, metrics)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(out, id), dir)
	require.Equal(t, []string{
		"SHA256SUMS", "experiment.yaml", "plots/dormant_units.svg", "plots/online_accuracy-steps.svg", "plots/online_accuracy.svg", "provenance.json", "runs.csv", "runs.json",
		"steps/backprop/0.parquet", "steps/backprop/1.parquet", "steps/backprop/2.parquet", "steps/l2/0.parquet", "steps/l2/1.parquet", "steps/l2/2.parquet",
		"summary.json", "summary.txt", "tasks.csv", "trials.csv",
	}, files(t, dir))

	tasks := readCSV(t, filepath.Join(dir, "tasks.csv"))
	require.Equal(t, []string{"experiment", "arm", "trial", "params", "stage", "seed", "task", "state", "metric", "layer", "value"}, tasks[0])
	require.Equal(t, []string{"quick", "backprop", "backprop", "lr=0.01", "", "0", "0", "done", "online_accuracy", "", "0.9"}, tasks[1])
	require.Equal(t, []string{"quick", "backprop", "backprop", "lr=0.01", "", "0", "1", "done", "dormant_units", "hidden0", "1"}, tasks[5])
	require.Len(t, tasks, 1+6*(3*2+2*2), "tasks that were not measured have no line")

	runs := readCSV(t, filepath.Join(dir, "runs.csv"))
	require.Len(t, runs, 8)
	require.Equal(t, []string{id + "/backprop/0", "backprop", "backprop", "lr=0.01", "", "0", "done", "digestbackprop", "keybackprop", "1", "3", "300", "1.500", `{"learner.optimizer.lr":0.01}`, ""}, runs[1])
	require.Equal(t, "step 12: loss is\nNaN", runs[7][14])

	rows, err := parquet.ReadFile[stepOf](filepath.Join(dir, "steps/l2/1.parquet"))
	require.NoError(t, err)
	require.Equal(t, []stepOf{{99, "dormant_units", "hidden0", 1}, {199, "dormant_units", "hidden0", 2}, {0, "online_accuracy", "", .5}, {1, "online_accuracy", "", .25}, {2, "online_accuracy", "", 1}}, rows)
	file, err := os.ReadFile(filepath.Join(dir, "steps/l2/1.parquet"))
	require.NoError(t, err)
	require.Equal(t, "9f6a26ae64c16fedd35492d788e5d306c57900c1501d3c76bac5bf2ecb96cc65", fmt.Sprintf("%x", sha256.Sum256(file)), "equal values make the files that they always made")

	var summary struct {
		ID, State string
		Runs      struct{ All, Done, Failed int }
		Arms      []struct {
			Arm    string
			Trials []struct{ Metrics []struct{ Metric string } }
		}
		Claims []struct{ Verdict string }
	}
	b, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &summary))
	require.Equal(t, id, summary.ID)
	require.Equal(t, "failed", summary.State)
	require.Equal(t, struct{ All, Done, Failed int }{7, 6, 1}, summary.Runs)
	require.Equal(t, "backprop", summary.Arms[0].Arm)
	require.Equal(t, "held", summary.Claims[0].Verdict)

	b, err = os.ReadFile(filepath.Join(dir, "runs.json"))
	require.NoError(t, err)
	require.Contains(t, string(b), `"run_key": "keybackprop"`)
	b, err = os.ReadFile(filepath.Join(dir, "experiment.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(b), "stream:\n  kind: bit-flip-regression\n")

	b, err = os.ReadFile(filepath.Join(dir, "plots/dormant_units.svg"))
	require.NoError(t, err)
	require.NoError(t, wellFormed(b))
	for _, want := range []string{">backprop lr=0.01<", ">l2 lr=0.01<", ">hidden0<", ">hidden1<", ">Dormant units of quick-7<"} {
		require.Contains(t, string(b), want)
	}
}

func TestFolderReplacesOnlyItsOwn(t *testing.T) {
	api, _ := newFake().dial(t)
	r, err := Fetch(t.Context(), api, id)
	require.NoError(t, err)
	out := t.TempDir()
	mine := filepath.Join(out, id, "mine.txt")
	require.NoError(t, os.Mkdir(filepath.Dir(mine), 0o755))
	require.NoError(t, os.WriteFile(mine, nil, 0o644))

	for range 2 { // the second time replaces the first
		dir, err := r.WriteFolder(t.Context(), out, nil)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(out, id+"-2"), dir)
	}
	require.FileExists(t, mine)
	require.NoFileExists(t, filepath.Join(out, id, "summary.json"))
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary folder is left")
}

func TestFolderIsAllOrNothing(t *testing.T) {
	f := newFake()
	f.breakSteps = status.Error(codes.Internal, "disk on fire")
	api, metrics := f.dial(t)
	r, err := Fetch(t.Context(), api, id)
	require.NoError(t, err)
	out := t.TempDir()
	_, err = r.WriteFolder(t.Context(), out, metrics)
	require.ErrorContains(t, err, "disk on fire")
	require.ErrorContains(t, err, "per-step data of quick-7/")
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestFolderRefusesNamesThatLeaveIt(t *testing.T) {
	for _, bad := range []string{"", "..", "../x", "/x", "a/b", ".hidden"} {
		r := &Result{Experiment: &pb.Experiment{Id: bad}}
		_, err := r.WriteFolder(t.Context(), t.TempDir(), nil)
		require.ErrorContains(t, err, "is no name for a folder", bad)
	}
}

func TestCheckWritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	require.ErrorContains(t, CheckWritable(filepath.Join(file, "out")), "give another with --out")
	require.ErrorContains(t, CheckWritable(file), "output folder "+file)
}

func TestFetchUnknown(t *testing.T) {
	api, _ := newFake().dial(t)
	_, err := Fetch(t.Context(), api, "nope")
	require.Equal(t, codes.NotFound, status.Code(errors.Unwrap(err)))
}

func wellFormed(b []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(b))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	}))
	return out
}

func readCSV(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	return rows
}
