package component

import (
	"errors"
	"fmt"
	"strings"
)

// FieldError is a mistake at one place of a spec.
type FieldError struct {
	Field   string // path from the root of the spec, for example learner.optimizer.lr
	Problem string // what is wrong and how to fix it
	Err     error  // the error that Problem describes, where it is one; for errors.As
}

// Error returns "field: problem".
func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

// Unwrap returns the error that the problem is, or nil.
func (e *FieldError) Unwrap() error { return e.Err }

// Fieldf makes a FieldError; it is what Validate methods return.
func Fieldf(field, format string, args ...any) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// At prefixes the fields of err, one FieldError or several joined, with path.
// An error of another type becomes a FieldError at path.
func At(path string, err error) error {
	if err == nil {
		return nil
	}
	all := FieldErrors(err)
	if len(all) == 0 {
		return &FieldError{Field: path, Problem: err.Error(), Err: err}
	}
	out := make([]error, len(all))
	for i, fe := range all {
		out[i] = &FieldError{Field: join(path, fe.Field), Problem: fe.Problem, Err: fe.Err}
	}
	if len(out) == 1 {
		return out[0]
	}
	return errors.Join(out...)
}

// FieldErrors returns every FieldError inside err, in order.
func FieldErrors(err error) []*FieldError {
	var out []*FieldError
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) { //nolint:errorlint // it is the walk over what errors.As would walk
		case nil:
		case *FieldError:
			out = append(out, e)
		case interface{ Unwrap() []error }:
			for _, x := range e.Unwrap() {
				walk(x)
			}
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		}
	}
	walk(err)
	return out
}

// join puts two parts of a path together; an index follows without a dot.
func join(path, field string) string {
	switch {
	case path == "":
		return field
	case field == "":
		return path
	case strings.HasPrefix(field, "["):
		return path + field
	}
	return path + "." + field
}
