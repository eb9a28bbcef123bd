package results

import (
	"context"
	"io"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// schemaName is in every file: it stays, so that equal runs go on to have equal
// files.
const schemaName = "StepRow"

// writeSteps writes a run's per-step data as Parquet and returns how many
// values there were. The file says nothing but the data, so equal runs have
// equal files, whichever experiment they are of.
func writeSteps(ctx context.Context, w io.Writer, api pb.MetricsServiceClient, run Run) (values int64, err error) {
	f := metric.NewFileWriter(w, schemaName)
	if err := series(ctx, api, run, f.Write); err != nil {
		return f.Rows(), err
	}
	return f.Rows(), f.Close()
}
