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
	tables := make([]tableReader, len(r.Runs))
	err = readTasks(path, func(run string, task int32, metric, layer string, value float64) error {
		i, ok := places[run]
		if !ok {
			return fmt.Errorf("run %s is not in runs.json", run)
		}
		tables[i].set(r.Runs[i].Table, task, metric, layer, value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, r.summarize()
}

// readTasks reads the lines of tasks.csv, whose columns are found by their names.
func readTasks(path string, each func(run string, task int32, metric, layer string, value float64) error) error {
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
		if err := each(row[at[0]]+"/"+row[at[1]], int32(task), row[at[3]], row[at[4]], value); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

// tableReader knows the columns of a table that is read cell by cell.
type tableReader struct{ columns map[[2]string]int }

// set puts a value into the table, whose rows come in order.
func (r *tableReader) set(t *pb.TaskTable, task int32, metric, layer string, value float64) {
	col, ok := r.columns[[2]string{metric, layer}]
	if !ok {
		if r.columns == nil {
			r.columns = map[[2]string]int{}
		}
		col = len(t.Columns)
		r.columns[[2]string{metric, layer}] = col
		t.Columns = append(t.Columns, &pb.ColumnName{Metric: metric, Layer: layer})
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
