package results

import (
	"context"
	"io"

	"github.com/parquet-go/parquet-go"

	pb "neoteny/proto/neoteny/v1"
)

// StepRow is a row of a run's per-step data: one value of one metric. Rows are
// sorted by metric, layer and step; the schema is that of the metrics service's
// own files.
type StepRow struct {
	Step   int64   `parquet:"step,delta,zstd"`
	Metric string  `parquet:"metric,dict,zstd"`
	Layer  string  `parquet:"layer,dict,zstd"`
	Value  float32 `parquet:"value,zstd"`
}

const (
	rowsPerGroup = 1 << 20
	rowsPerWrite = 1 << 12
)

// writeSteps writes a run's per-step data as Parquet and returns how many
// values there were. The file says nothing but the data, so equal runs have
// equal files, whichever experiment they are of.
func writeSteps(ctx context.Context, w io.Writer, api pb.MetricsServiceClient, run Run) (values int64, err error) {
	pw := parquet.NewGenericWriter[StepRow](w,
		parquet.MaxRowsPerRowGroup(rowsPerGroup),
		parquet.CreatedBy("neoteny", "1", ""),
		parquet.SortingWriterConfig(parquet.SortingColumns(
			parquet.Ascending("metric"), parquet.Ascending("layer"), parquet.Ascending("step"))))
	rows := make([]StepRow, 0, rowsPerWrite)
	flush := func() error {
		n, err := pw.Write(rows)
		values += int64(n)
		rows = rows[:0]
		return err
	}
	err = series(ctx, api, run, func(p *pb.QuerySeriesResponse) error {
		for i, v := range p.GetValues() {
			if rows = append(rows, StepRow{p.GetSteps()[i], p.GetMetric(), p.GetLayer(), v}); len(rows) == rowsPerWrite {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return values, err
	}
	return values, pw.Close()
}
