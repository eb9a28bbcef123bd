package app

import (
	"google.golang.org/grpc"

	"neoteny/internal/datastore"
	"neoteny/internal/rpc"
	pb "neoteny/proto/neoteny/v1"
)

// DataFlag is where datasets are.
type DataFlag struct {
	Data string `help:"Folder of the datasets. Default: neoteny/data in the user's cache folder." placeholder:"DIR" type:"path"`
}

func (f DataFlag) Folder() (string, error) {
	if f.Data != "" {
		return f.Data, nil
	}
	return datastore.DefaultDir()
}

// FolderHelp says what is in the folder of results.
const FolderHelp = `DIR/<experiment id> holds:
  summary.json, summary.txt       means with 95 % intervals, claims with verdicts
  tasks.csv                       every task of every run: experiment, arm, trial, params, stage, seed, task, state, metric, layer, value
  trials.csv                      every trial, by rank: what the sweep set, means with intervals
  runs.csv, runs.json             every run with its digest and run key
  plots/<metric>.svg              the metric over tasks for every arm, matrices of accuracies as heat maps
  plots/<metric>-steps.svg        over steps, where it is measured at steps (up to 20 million steps in all)
  plots/<metric>-sweep.svg        over each parameter that was swept; -parallel.svg from three parameters on
  steps/<trial>/<seed>.parquet    every value, with the columns of tasks.csv and the step
  weights/<trial>/<seed>.safetensors   of runs that publish them (--weights)
  experiment.yaml                 the experiment with includes, --set and forms applied, ready to be submitted again
  source.yaml, provenance.json    the file as it was written; program, machine and numerics version
  SHA256SUMS                      the digest of every file, for neoteny verify --fast and sha256sum -c
The folder appears when it is complete. Results of another experiment are never overwritten.`

// ReuseFlag says whether runs that are finished already are made again.
type ReuseFlag struct {
	NoReuse bool `help:"Make every run. By default runs that have been finished before, with the same spec, seed and data, are reused."`
}

// CoordinatorFlag is where commands find the cluster.
type CoordinatorFlag struct {
	Coordinator string `help:"Address of the coordinator. Default: ${default}." default:"localhost:7070" placeholder:"HOST:PORT"`
}

const defaultCoordinator = "localhost:7070"

func (f CoordinatorFlag) Dial() (pb.ExperimentServiceClient, *grpc.ClientConn, error) {
	conn, err := rpc.Dial(f.Coordinator)
	if err != nil {
		return nil, nil, err
	}
	return pb.NewExperimentServiceClient(conn), conn, nil
}
