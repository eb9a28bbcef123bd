package results

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	pb "neoteny/proto/neoteny/v1"
)

// saved is a result as JSON, from which it can be judged again without any
// services.
type saved struct {
	Experiment json.RawMessage   `json:"experiment"`
	Runs       []json.RawMessage `json:"runs"` // with their tables
}

// MarshalJSON writes the experiment and its runs with their task tables.
func (r *Result) MarshalJSON() ([]byte, error) {
	var s saved
	var err error
	if s.Experiment, err = protojson.Marshal(r.Experiment); err != nil {
		return nil, fmt.Errorf("save %s: %w", r.Experiment.GetId(), err)
	}
	for _, run := range r.Runs {
		b, err := protojson.Marshal(&pb.GetRunResponse{Run: run.Run, Table: run.Table})
		if err != nil {
			return nil, fmt.Errorf("save run %s: %w", run.GetId(), err)
		}
		s.Runs = append(s.Runs, b)
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what [Result.MarshalJSON] has written.
func (r *Result) UnmarshalJSON(b []byte) error {
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	r.Experiment, r.Runs = &pb.Experiment{}, nil
	if err := protojson.Unmarshal(s.Experiment, r.Experiment); err != nil {
		return err
	}
	for _, b := range s.Runs {
		var run pb.GetRunResponse
		if err := protojson.Unmarshal(b, &run); err != nil {
			return err
		}
		r.Runs = append(r.Runs, Run{Run: run.GetRun(), Table: run.GetTable()})
	}
	return r.summarize()
}

// Judge holds the results against the claims of another spec of the same work.
func (r *Result) Judge(spec *pb.ExperimentSpec) error {
	r.Experiment.Spec = spec
	return r.summarize()
}
