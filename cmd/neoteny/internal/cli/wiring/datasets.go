package wiring

import (
	"errors"

	"neoteny/internal/datashare"
)

// DatasetFlags bound the own datasets that are uploaded to a cluster.
type DatasetFlags struct {
	MaxDatasets   int `help:"Take at most so many datasets that people bring with submit; 0: any number. Default: ${default}." default:"1000" placeholder:"N"`
	MaxDatasetGiB int `name:"max-dataset-gib" help:"Take at most so many GiB of them in all; 0: any amount. Default: ${default}." default:"64" placeholder:"N"`
}

// Validate implements kong's check of flags.
func (f DatasetFlags) Validate() error {
	if f.MaxDatasets < 0 || f.MaxDatasetGiB < 0 || f.MaxDatasetGiB > 1<<20 {
		return errors.New("--max-datasets and --max-dataset-gib must be 0 or more, the latter at most 1048576")
	}
	return nil
}

// Limits are what the flags say.
func (f DatasetFlags) Limits() datashare.Limits {
	return datashare.Limits{Datasets: f.MaxDatasets, Bytes: int64(f.MaxDatasetGiB) << 30}
}
