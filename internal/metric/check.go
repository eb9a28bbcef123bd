package metric

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// Limits on what is taken from anywhere. Some are the API's too; they are held
// here again because the log and the Parquet file rely on them.
const (
	// MaxStep bounds step numbers so that sums of two cannot overflow.
	MaxStep = math.MaxInt64 / 4
	// MaxSteps and MaxColumns bound a block of rows.
	MaxSteps   = 1 << 24
	MaxColumns = 4096

	maxNameBytes = 64
	maxArmBytes  = 128
)

// Check holds the rows against what is said of them here and against the
// limits. Its errors name the fields as the API does.
func (r Rows) Check() error {
	if err := checkShape(r.First, r.N, len(r.Series)); err != nil {
		return err
	}
	if i, twice := repeated(r.Series); twice {
		return fmt.Errorf("columns[%d] repeats metric %q of layer %q", i, r.Series[i].Metric, r.Series[i].Layer)
	}
	for i, s := range r.Series {
		if err := s.check(r.N); err != nil {
			return fmt.Errorf("columns[%d] (%q): %w", i, s.Metric, err)
		}
	}
	return nil
}

func checkShape(first, n int64, columns int) error {
	switch {
	case first < 0 || first > MaxStep:
		return fmt.Errorf("first_step %d is not in [0, %d]", first, int64(MaxStep))
	case n < 0 || n > MaxSteps:
		return fmt.Errorf("n_steps %d is not in [0, %d]", n, MaxSteps)
	case columns > MaxColumns:
		return fmt.Errorf("%d columns are over the limit of %d", columns, MaxColumns)
	}
	return nil
}

// repeated returns the index of a column that came before. It runs for every
// block, so the usual few series are compared in place.
func repeated(series []Series) (int, bool) {
	if len(series) > 64 {
		seen := make(map[Column]struct{}, len(series))
		for i, s := range series {
			if _, twice := seen[s.Column]; twice {
				return i, true
			}
			seen[s.Column] = struct{}{}
		}
		return 0, false
	}
	for i, s := range series {
		for _, other := range series[:i] {
			if other.Column == s.Column {
				return i, true
			}
		}
	}
	return 0, false
}

func (s Series) check(steps int64) error {
	if err := s.Column.check(); err != nil {
		return err
	}
	if s.Offsets == nil {
		if n := int64(len(s.Values)); n != steps {
			return fmt.Errorf("%d values without offsets for %d steps", n, steps)
		}
		return nil
	}
	if len(s.Offsets) != len(s.Values) {
		return fmt.Errorf("%d values for %d offsets", len(s.Values), len(s.Offsets))
	}
	last := int64(-1)
	for i, o := range s.Offsets {
		if int64(o) <= last || int64(o) >= steps {
			return fmt.Errorf("offsets[%d] = %d is not ascending below n_steps %d", i, o, steps)
		}
		last = int64(o)
	}
	return nil
}

func (c Column) check() error {
	if !isMetricName(c.Metric) {
		return errors.New("metric is not a name like online_accuracy")
	}
	return checkText("layer", c.Layer, maxNameBytes)
}

// isMetricName reports whether s matches ^[a-z][a-z0-9_]{0,63}$.
func isMetricName(s string) bool {
	if len(s) == 0 || len(s) > maxNameBytes || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

func checkText(what, s string, limit int) error {
	if len(s) > limit || !utf8.ValidString(s) {
		return fmt.Errorf("%s is not UTF-8 text of at most %d bytes", what, limit)
	}
	return nil
}

// CheckSender holds what a batch says of who made it against the limits: the
// arm and the attempt.
func CheckSender(arm string, attempt int64) error {
	if attempt < 0 {
		return fmt.Errorf("attempt %d is negative", attempt)
	}
	return checkText("arm", arm, maxArmBytes)
}
