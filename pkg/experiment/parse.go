// Package experiment is the model of an experiment: it parses and validates
// the experiment file and expands it into trials, runs and segments. All of it
// is pure: the same spec gives the same plan everywhere.
package experiment

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// Limits of an experiment file. They bound time and memory before anything is
// known about the content.
const (
	MaxFileBytes = 4 << 20 // bytes of the file
	maxDepth     = 64      // objects and lists inside each other
	maxValues    = 1 << 20 // values, YAML aliases written out
	maxText      = 8 << 20 // bytes of names and strings, YAML aliases written out
)

// Parse reads an experiment, in its default form, from YAML, JSON or
// protobuf-JSON, which are one document. An unknown field, a value of the wrong
// type, a key given twice or a number that is not finite is a
// *component.FieldError with its path and line; several are joined. The spec is
// well formed but not validated: see [Validate].
func Parse(b []byte) (*pb.ExperimentSpec, error) {
	d, err := ReadDocument(b, Options{})
	if err != nil {
		return nil, err
	}
	v, err := d.Variant(Default)
	return v.Spec, err
}

// ParseFile reads an experiment from a file; "-" is the standard input. Every
// error names the file.
func ParseFile(path string) (*pb.ExperimentSpec, error) {
	d, err := ReadDocumentFile(path)
	if err != nil {
		return nil, err
	}
	v, err := d.Variant(Default)
	return v.Spec, err
}

// InFile puts the name of a file in front of err, of each one when several are
// joined.
func InFile(name string, err error) error {
	if err == nil {
		return nil
	}
	fields := component.FieldErrors(err)
	if len(fields) == 0 {
		return fmt.Errorf("%s: %w", name, err)
	}
	errs := make([]error, len(fields))
	for i, fe := range fields {
		errs[i] = fmt.Errorf("%s: %w", name, fe)
	}
	return join(errs)
}

// join joins errors; one alone stays itself.
func join(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
