package dataimport

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
)

// table is a table that is read row by row: which columns are features and which the target.
type table struct {
	file     string
	names    []string
	features []int // columns
	targets  []int
	f        *found

	texts  map[string]string // targets seen, each kept once
	target []string          // [rows][targets]
}

// columns decides what the columns of a table are.
func newTable(file, format string, names []string, o Options) (*table, error) {
	t := &table{file: file, names: names, f: &found{format: format}, texts: map[string]string{}}
	if len(names) > maxColumns {
		return nil, fmt.Errorf("%s has %d columns, more than %d", file, len(names), maxColumns)
	}
	for i, name := range names {
		if j := slices.Index(names, name); j < i && (name != "" || j > 0) {
			return nil, fmt.Errorf("%s: columns %d and %d are both named %.60q: rename one", file, j, i, name)
		}
	}
	drop := map[int]bool{}
	if len(names) > 1 && names[0] == "" {
		drop[0] = true
		t.f.notes = append(t.f.notes, fmt.Sprintf("%s: its first column has no name and is left out: pandas writes its index so", file))
	}
	for _, name := range o.Drop {
		i, err := t.column("--drop", name)
		if err != nil {
			return nil, err
		}
		drop[i] = true
	}
	target := o.Target
	if target == "" {
		likely := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
			n = strings.ToLower(n)
			return !slices.Contains(targetNames, n) && n != "class"
		})
		if len(likely) != 1 {
			return nil, fmt.Errorf("%s: say with --target which column is to be learnt: it has %s", file, brief(names))
		}
		target = likely[0]
	}
	for _, name := range strings.Split(target, ",") {
		i, err := t.column("--target", name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(t.targets, i) || drop[i] {
			return nil, fmt.Errorf("%s: column %.60q is given twice in --target and --drop", file, names[i])
		}
		t.targets = append(t.targets, i)
		t.f.targets = append(t.f.targets, names[i])
	}
	for i, name := range names {
		if !drop[i] && !slices.Contains(t.targets, i) {
			t.features = append(t.features, i)
			t.f.features = append(t.f.features, name)
		}
	}
	if len(t.features) == 0 {
		return nil, fmt.Errorf("%s: no column is left as a feature", file)
	}
	t.f.train = part{name: file, shape: []int{len(t.features)}}
	return t, nil
}

// column finds a column by its name or, where none has it, by its number.
func (t *table) column(flag, name string) (int, error) {
	name = strings.TrimSpace(name)
	if i := slices.Index(t.names, name); i >= 0 {
		return i, nil
	}
	if i, err := strconv.Atoi(name); err == nil {
		if i < 0 {
			i += len(t.names)
		}
		if i >= 0 && i < len(t.names) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s has no column %.60q for %s%s (have: %s)", t.file, name, flag, component.DidYouMean(name, t.names), brief(t.names))
}

// feature adds a value of the row that is being read.
func (t *table) feature(v float32) { t.f.train.floats = append(t.f.train.floats, v) }

// answer adds a target of the row.
func (t *table) answer(text string) {
	kept, ok := t.texts[text]
	if !ok {
		kept = strings.Clone(text)
		if len(t.texts) < 1<<16 {
			t.texts[kept] = kept
		}
	}
	t.target = append(t.target, kept)
}

// endRow ends a row, which must fit the limits.
func (t *table) endRow() error {
	t.f.train.n++
	if n := int64(len(t.f.train.floats))*4 + int64(len(t.target))*4; n > data.MaxBytes {
		return fmt.Errorf("%s: its first %d rows have more than the %d bytes of a dataset", t.file, t.f.train.n, int64(data.MaxBytes))
	}
	return nil
}

// end makes answers of the targets: numbers where all are.
func (t *table) end() (*found, error) {
	p := &t.f.train
	p.y = answers{name: fmt.Sprintf("column %s of %s", brief(t.f.targets), t.file), n: p.n, width: len(t.targets), whole: true}
	numbers := make([]float64, 0, len(t.target))
	for i, text := range t.target {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			if len(t.targets) > 1 {
				return nil, fmt.Errorf("%s: row %d, column %.60q: %.60q is not a number: several targets are numbers to regress on",
					t.file, i/len(t.targets)+1, t.names[t.targets[i%len(t.targets)]], text)
			}
			numbers = nil
			break
		}
		if strings.ContainsAny(text, ".eExXpP_") {
			p.y.whole = false
		}
		numbers = append(numbers, v)
	}
	if numbers == nil {
		p.y.text = t.target
	} else {
		p.y.numbers = numbers
	}
	return t.f, nil
}
