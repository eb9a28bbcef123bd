package results

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "neoteny/proto/neoteny/v1"
)

// Recorded is what a folder of results says of its runs.
type Recorded struct {
	Runs []*pb.Run
	// Of the experiment; unset where summary.json cannot be read.
	ID                 string
	CreatedAt, EndedAt *timestamppb.Timestamp
	// Provenance is nil in folders of programs that did not write it yet.
	Provenance *Provenance

	values map[string]map[cell]string // by trial and seed
	runs   map[string]*pb.Run         // the same
}

// Comparison is a run that was made again, and how it compares.
type Comparison struct {
	Run      string `json:"run"` // trial and seed
	Arm      string `json:"arm"`
	Same     bool   `json:"same"`
	Digest   string `json:"digest"`
	Recorded string `json:"recorded"`
	Differs  string `json:"differs,omitempty"` // where first
}

func (c cell) String() string { return columnName(c.metric, c.layer) + " of task " + c.task }

// ReadFolder reads the runs and task tables of a folder that
// [Result.WriteFolder] has written.
func ReadFolder(dir string) (*Recorded, error) {
	runs, err := readRuns(dir)
	if err != nil {
		return nil, err
	}
	r := &Recorded{Runs: runs, values: map[string]map[cell]string{}, runs: map[string]*pb.Run{}}
	if r.Provenance, err = readProvenance(dir); err != nil {
		return nil, err
	}
	r.readSummary(filepath.Join(dir, "summary.json"))
	for _, run := range runs {
		r.runs[runName(run)] = run
	}
	if r.ID == "" && len(r.Runs) > 0 {
		r.ID = r.Runs[0].GetExperiment()
	}
	err = readTasks(dir, func(run string, place cell, value string) error {
		if r.values[run] == nil {
			r.values[run] = map[cell]string{}
		}
		r.values[run][place] = value
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// readSummary reads what no run can say. Where the file is damaged the comparison of
// folders reports that.
func (r *Recorded) readSummary(path string) {
	var s summaryFile
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &s) != nil {
		return
	}
	r.ID = s.ID
	for at, text := range map[**timestamppb.Timestamp]string{&r.CreatedAt: s.CreatedAt, &r.EndedAt: s.EndedAt} {
		if t, err := time.Parse(timeFormat, text); err == nil {
			*at = timestamppb.New(t)
		}
	}
}

// Ended reports whether a run that was made again is recorded with an end that can be
// compared.
func (r *Recorded) Ended(now Run) bool {
	then := r.runs[runName(now.Run)]
	_, ended := outcomes[then.GetState()]
	return then == nil || ended
}

// Compare holds a run against what is recorded of its trial and seed.
func (r *Recorded) Compare(now Run) Comparison {
	name := runName(now.Run)
	then := r.runs[name]
	c := Comparison{Run: name, Arm: now.GetArm(), Digest: now.GetDigest(), Recorded: then.GetDigest()}
	switch {
	case then == nil:
		c.Differs = "is not recorded"
	case then.GetState() != now.GetState():
		c.Differs = fmt.Sprintf("is %s, recorded as %s", RunStateName(now.GetState()), RunStateName(then.GetState()))
	case then.GetDigest() != now.GetDigest():
		c.Differs = r.difference(name, now)
	default:
		c.Same = true
	}
	return c
}

// difference says where the task table of a run first differs from what is
// recorded, or that it does not.
func (r *Recorded) difference(name string, run Run) string {
	recorded := r.values[name]
	n := 0
	for place, value := range run.cells() {
		n++
		place.state = ""
		switch was, ok := recorded[place]; {
		case !ok:
			return fmt.Sprintf("%v: %s, not recorded", place, value)
		case was != value:
			return fmt.Sprintf("%v: %s, recorded is %s", place, value, was)
		}
	}
	if n < len(recorded) {
		return fmt.Sprintf("%d values, recorded are %d", n, len(recorded))
	}
	return "none in the task table: single steps or the state at the end"
}

// runName is a run's trial and seed, its id without that of the experiment.
func runName(run *pb.Run) string {
	return run.GetTrial() + "/" + strconv.FormatUint(uint64(run.GetSeed()), 10)
}
