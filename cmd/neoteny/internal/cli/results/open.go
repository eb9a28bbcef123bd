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
	"slices"
	"strconv"
	"strings"

	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// OpenFolder reads a folder that [Result.WriteFolder] has written: the experiment, its
// runs and their task tables. Per-step data are read with [FolderSteps].
func OpenFolder(dir string) (*Result, error) {
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
	spec, err := experiment.ParseFile(filepath.Join(dir, "experiment.yaml"))
	if err != nil {
		return nil, err
	}
	r := &Result{Experiment: &pb.Experiment{Id: holds(dir), Spec: spec}}
	if r.Experiment.Id == "" {
		r.Experiment.Id = spec.GetName()
	}
	places := map[string]int{} // by trial and seed
	for i, raw := range file.Runs {
		run, err := readRun(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: run %d: %w", filepath.Join(dir, "runs.json"), i, err)
		}
		places[runName(run)] = len(r.Runs)
		r.Runs = append(r.Runs, Run{Run: run, Table: &pb.TaskTable{}})
	}
	path := filepath.Join(dir, "tasks.csv")
	err = readTasks(path, func(run string, task int32, c *pb.ColumnName, value float64) error {
		i, ok := places[run]
		if !ok {
			return fmt.Errorf("run %s is not in runs.json", run)
		}
		setCell(r.Runs[i].Table, task, c, value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, r.summarize()
}

// readTasks reads the lines of tasks.csv, whose columns are found by their names.
func readTasks(path string, each func(run string, task int32, c *pb.ColumnName, value float64) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rows := csv.NewReader(f)
	rows.ReuseRecord = true
	head, err := rows.Read()
	if err != nil {
		return fmt.Errorf("the head: %w", err)
	}
	var at [6]int
	for i, name := range []string{"trial", "seed", "task", "metric", "layer", "value"} {
		if at[i] = slices.Index(head, name); at[i] < 0 {
			return fmt.Errorf("line 1: there is no column %q", name)
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
		line, _ := rows.FieldPos(0)
		task, err := strconv.ParseInt(row[at[2]], 10, 32)
		if err != nil || task < 0 {
			return fmt.Errorf("line %d: task %q is not a number of a task", line, row[at[2]])
		}
		value, err := strconv.ParseFloat(row[at[5]], 64)
		if err != nil {
			return fmt.Errorf("line %d: value %q is not a number", line, row[at[5]])
		}
		// Copies: the reader uses the row's memory again.
		c := &pb.ColumnName{Metric: strings.Clone(row[at[3]]), Layer: strings.Clone(row[at[4]])}
		if err := each(row[at[0]]+"/"+row[at[1]], int32(task), c, value); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

// setCell puts a value into a table, whose rows come in order.
func setCell(t *pb.TaskTable, task int32, c *pb.ColumnName, value float64) {
	col := slices.IndexFunc(t.Columns, func(have *pb.ColumnName) bool { return have.Metric == c.Metric && have.Layer == c.Layer })
	if col < 0 {
		col = len(t.Columns)
		t.Columns = append(t.Columns, c)
		for _, row := range t.Rows {
			row.Values = append(row.Values, notMeasured)
		}
	}
	n := len(t.Rows)
	if n == 0 || t.Rows[n-1].Task != task {
		row := &pb.TaskRow{Task: task, Values: make([]float64, len(t.Columns))}
		for i := range row.Values {
			row.Values[i] = notMeasured
		}
		t.Rows = append(t.Rows, row)
		n++
	}
	t.Rows[n-1].Values[col] = value
}
