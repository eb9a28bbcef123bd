package results

import (
	"context"
	"io"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// stepRow is the schema of the per-step data: one row per value, sorted by metric,
// layer and step. The first columns say whose value it is, so that the files of many
// runs can be read as one table; they are constant in a file and cost next to nothing.
type stepRow struct {
	Experiment string  `parquet:"experiment,dict,zstd"` // its name
	Arm        string  `parquet:"arm,dict,zstd"`
	Trial      string  `parquet:"trial,dict,zstd"`
	Params     string  `parquet:"params,dict,zstd"` // what the sweep set, as a JSON object
	Stage      string  `parquet:"stage,dict,zstd"`
	Seed       int64   `parquet:"seed,delta,zstd"`
	Task       int32   `parquet:"task,delta,zstd"`
	Step       int64   `parquet:"step,delta,zstd"`
	Metric     string  `parquet:"metric,dict,zstd"`
	Layer      string  `parquet:"layer,dict,zstd"`
	Value      float32 `parquet:"value,zstd"`
}

// schemaName is in every file: it stays, so that equal runs go on to have equal
// files.
const schemaName = "StepRow"

// writeSteps writes a run's per-step data as Parquet and returns how many
// values there were. The file depends on the experiment's name, the run and its data
// alone, so equal runs of an experiment have equal files, whenever they were made.
func (r *Result) writeSteps(ctx context.Context, w io.Writer, api pb.MetricsServiceClient, run Run) (values int64, err error) {
	params, err := paramsJSON(run.GetParams())
	if err != nil {
		return 0, err
	}
	f := parquet.NewGenericWriter[stepRow](w,
		parquet.NewSchema(schemaName, parquet.SchemaOf(stepRow{})),
		parquet.MaxRowsPerRowGroup(metric.RowsPerGroup),
		parquet.CreatedBy("neoteny", "1", ""),
		parquet.SortingWriterConfig(parquet.SortingColumns(
			parquet.Ascending("metric"), parquet.Ascending("layer"), parquet.Ascending("step"))))
	one := stepRow{
		Experiment: r.Experiment.GetSpec().GetName(), Arm: run.GetArm(), Trial: run.GetTrial(), Params: params,
		Stage: r.stage(run), Seed: int64(run.GetSeed()),
	}
	for _, m := range [][2]string{
		{"experiment", one.Experiment}, {"arm", one.Arm}, {"trial", one.Trial}, {"params", one.Params}, {"stage", one.Stage},
		{"seed", strconv.FormatInt(one.Seed, 10)},
	} {
		f.SetKeyValueMetadata("neoteny."+m[0], m[1])
	}
	perTask := max(run.GetSteps()/int64(max(run.GetTasks(), 1)), 1)
	rows := make([]stepRow, 0, rowsPerWrite)
	flush := func() error {
		_, err := f.Write(rows)
		values, rows = values+int64(len(rows)), rows[:0]
		return err
	}
	err = series(ctx, api, run, func(p metric.Points) error {
		one.Metric, one.Layer = p.Metric, p.Layer
		for i, v := range p.Values {
			one.Step, one.Value = p.Steps[i], v
			one.Task = int32(one.Step / perTask)
			if rows = append(rows, one); len(rows) == rowsPerWrite {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return values, err
	}
	if err := flush(); err != nil {
		return values, err
	}
	return values, f.Close()
}

const rowsPerWrite = 1 << 12
