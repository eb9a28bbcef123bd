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
	runs, err := readRuns(dir)
	if err != nil {
		return nil, err
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
	for i, run := range runs {
		places[runName(run)] = i
		r.Runs = append(r.Runs, Run{Run: run, Table: &pb.TaskTable{}})
	}
	tables := make([]tableReader, len(r.Runs))
	err = readTasks(dir, func(run string, c cell, text string) error {
		i, ok := places[run]
		if !ok {
			return fmt.Errorf("run %s is not in runs.json", run)
		}
		task, err := strconv.ParseInt(c.task, 10, 32)
		if err != nil || task < 0 {
			return fmt.Errorf("task %q is not a number of a task", c.task)
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("value %q is not a number", text)
		}
		tables[i].set(r.Runs[i].Table, int32(task), c.metric, c.layer, value)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, r.summarize()
}

// readRuns reads the runs of a folder of results, without their tables.
func readRuns(dir string) ([]*pb.Run, error) {
	path := filepath.Join(dir, "runs.json")
	b, err := os.ReadFile(path)
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
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	runs := make([]*pb.Run, len(file.Runs))
	for i, raw := range file.Runs {
		if runs[i], err = readRun(raw); err != nil {
			return nil, fmt.Errorf("%s: run %d: %w", path, i, err)
		}
	}
	return runs, nil
}

// readTasks reads the lines of tasks.csv, whose columns are found by their names: each
// is a value of a run (its trial and seed), as it is written.
func readTasks(dir string, each func(run string, place cell, value string) error) error {
	path := filepath.Join(dir, "tasks.csv")
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if err := readCells(csv.NewReader(f), each); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readCells(rows *csv.Reader, each func(run string, place cell, value string) error) error {
	rows.ReuseRecord = true
	head, err := rows.Read() // of which all rows have as many fields
	if err != nil {
		return fmt.Errorf("the head: %w", err)
	}
	var at [6]int
	for i, name := range []string{"trial", "seed", "task", "metric", "layer", "value"} {
		if at[i] = slices.Index(head, name); at[i] < 0 {
			return fmt.Errorf("wrong number of fields in line 1: there is no column %q", name)
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
		place := cell{task: row[at[2]], metric: row[at[3]], layer: row[at[4]]}
		if err := each(row[at[0]]+"/"+row[at[1]], place, row[at[5]]); err != nil {
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
