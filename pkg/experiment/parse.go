// Package experiment is the model of an experiment: it parses and validates
// the experiment file and expands it into trials, runs and segments. All of it
// is pure: the same spec gives the same plan everywhere.
package experiment

import (
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/encoding/protojson"

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

// Parse reads an experiment from YAML, JSON or protobuf-JSON, which are one
// document. An unknown field, a value of the wrong type, a key given twice or
// a number that is not finite is a *component.FieldError with its path and
// line; several are joined. The spec is well formed but not validated: see
// [Validate].
func Parse(b []byte) (*pb.ExperimentSpec, error) {
	if len(b) > MaxFileBytes {
		return nil, fmt.Errorf("%d bytes are more than the %d that an experiment may have", len(b), MaxFileBytes)
	}
	root, err := readDocument(b)
	if err != nil {
		return nil, err
	}
	spec := &pb.ExperimentSpec{}
	if err := checkAgainst(root, spec.ProtoReflect().Descriptor()); err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(root.appendJSON(nil), spec); err != nil {
		return nil, fmt.Errorf("read experiment: %w", err)
	}
	return spec, nil
}

// ParseFile reads an experiment from a file; "-" is the standard input. Every
// error names the file.
func ParseFile(path string) (*pb.ExperimentSpec, error) {
	f, name := os.Stdin, "standard input"
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("open experiment: %w", err)
		}
		defer f.Close()
		name = path
	}
	// One byte more than allowed tells a large file from one that just fits,
	// whatever size the file says it has.
	b, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read experiment %s: %w", name, err)
	}
	if len(b) > MaxFileBytes {
		return nil, fmt.Errorf("%s: larger than the %d bytes that an experiment may have", name, MaxFileBytes)
	}
	spec, err := Parse(b)
	return spec, InFile(name, err)
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
