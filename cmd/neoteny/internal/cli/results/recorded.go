package results

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

func (c cell) String() string {
	name := c.metric
	if c.layer != "" {
		name += "/" + c.layer
	}
	return name + " of task " + c.task
}

// ReadFolder reads the runs and task tables of a folder that
// [Result.WriteFolder] has written.
func ReadFolder(dir string) (*Recorded, error) {
	b, err := os.ReadFile(filepath.Join(dir, "runs.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no folder of results: there is no runs.json in it", dir)
	}
	if err != nil {
		return nil, err
	}
	var file struct {
		Runs []json.RawMessage `json:"runs"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "runs.json"), err)
	}
	r := &Recorded{values: map[string]map[cell]string{}, runs: map[string]*pb.Run{}}
	if r.Provenance, err = readProvenance(dir); err != nil {
		return nil, err
	}
	r.readSummary(filepath.Join(dir, "summary.json"))
	for i, raw := range file.Runs {
		run, err := readRun(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: run %d: %w", filepath.Join(dir, "runs.json"), i, err)
		}
		r.Runs = append(r.Runs, run)
		r.runs[runName(run)] = run
	}
	if r.ID == "" && len(r.Runs) > 0 {
		r.ID = r.Runs[0].GetExperiment()
	}
	if err := r.readTasks(filepath.Join(dir, "tasks.csv")); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "tasks.csv"), err)
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

func (r *Recorded) readTasks(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rows := csv.NewReader(f)
	head, err := rows.Read() // of which all rows have as many fields
	if err != nil {
		return fmt.Errorf("the head: %w", err)
	}
	at := map[string]int{}
	for i, name := range head {
		at[name] = i
	}
	for _, name := range []string{"trial", "seed", "task", "metric", "layer", "value"} {
		if _, ok := at[name]; !ok {
			return fmt.Errorf("wrong number of fields in the head: there is no column %s", name)
		}
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		run := row[at["trial"]] + "/" + row[at["seed"]]
		if r.values[run] == nil {
			r.values[run] = map[cell]string{}
		}
		r.values[run][cell{row[at["task"]], "", row[at["metric"]], row[at["layer"]]}] = row[at["value"]]
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
