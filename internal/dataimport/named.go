package dataimport

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"neoteny/pkg/engine/safetensors"
)

// Names of arrays by their role, in lower case: those of Keras, MedMNIST, scikit-learn and the like. The split may
// stand before or behind: x_train, train_images.
var (
	featureNames = []string{"x", "data", "features", "images", "inputs"}
	targetNames  = []string{"y", "label", "labels", "target", "targets"}
)

// roles sorts the names of arrays: by split ("", "train" or "test"), those that may be features and targets.
type roles map[string]map[string][]string

func rolesOf(names []string) roles {
	out := roles{"": {}, "train": {}, "test": {}}
	for _, name := range names {
		base, split := strings.ToLower(name), ""
		for _, s := range []string{"train", "test"} {
			for _, sep := range []string{"_", ".", "-", "/"} {
				if rest, ok := strings.CutPrefix(base, s+sep); ok {
					base, split = rest, s
				} else if rest, ok := strings.CutSuffix(base, sep+s); ok {
					base, split = rest, s
				}
			}
		}
		switch {
		case slices.Contains(featureNames, base):
			out[split]["x"] = append(out[split]["x"], name)
		case slices.Contains(targetNames, base):
			out[split]["y"] = append(out[split]["y"], name)
		}
	}
	return out
}

// readNamed reads a file of named arrays.
func readNamed(file, format string, names []string, o Options, load func(string, func(*array) error) (*array, error)) (*found, error) {
	f := &found{format: format}
	slices.Sort(names)
	for _, name := range names {
		if name != Printable(name) {
			return nil, fmt.Errorf("%s: the name of array %.80q cannot be shown: give it another", file, name)
		}
	}
	by := rolesOf(names)
	have := fmt.Sprintf("it has %s", brief(names))
	one := func(split, role, what string) (string, error) {
		found := by[split][role]
		if role == "y" && o.Target != "" && split != "test" {
			if !slices.Contains(names, o.Target) {
				return "", fmt.Errorf("%s has no array %.60q for --target: %s", file, o.Target, have)
			}
			return o.Target, nil
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return "", fmt.Errorf("%s: %s could all be the %s: keep one of them", file, brief(found), what)
		case role == "x" && split == "" && len(names) == 2 && slices.Contains(names, o.Target):
			return names[1-slices.Index(names, o.Target)], nil
		}
		return "", fmt.Errorf("%s: no array is named like the %s: %s; name it x and y, or x_train, y_train, x_test and y_test, or give the target with --target", file, what, have)
	}
	train := ""
	if len(by["train"]["x"]) > 0 {
		train = "train"
	}
	splits := []string{train}
	if len(by["test"]["x"]) > 0 {
		splits = append(splits, "test")
	}
	used := map[string]bool{}
	for _, split := range splits {
		x, err := one(split, "x", strings.TrimSpace(split+" features"))
		if err != nil {
			return nil, err
		}
		y, err := one(split, "y", strings.TrimSpace(split+" target"))
		if err != nil {
			return nil, err
		}
		used[x], used[y] = true, true
		p := &f.train
		if split == "test" {
			f.test = &part{}
			p = f.test
		}
		a, err := load(x, (*array).checkFeatures)
		if err != nil {
			return nil, err
		}
		note, err := a.features(p)
		if err != nil {
			return nil, err
		}
		if note != "" {
			f.notes = append(f.notes, note)
		}
		if a, err = load(y, (*array).checkTarget); err != nil {
			return nil, err
		}
		if p.y, err = a.answers(); err != nil {
			return nil, err
		}
	}
	var rest []string
	for _, name := range names {
		if !used[name] {
			rest = append(rest, name)
		}
	}
	if len(rest) > 0 {
		f.notes = append(f.notes, fmt.Sprintf("%s: not used: %s", file, brief(rest)))
	}
	return f, nil
}

// readTensors reads arrays of a safetensors file.
func readTensors(file string, o Options) (*found, error) {
	in, err := open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	content, err := safetensors.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(content.Tensors) > maxMembers {
		return nil, fmt.Errorf("%s has %d tensors, more than %d", file, len(content.Tensors), maxMembers)
	}
	tensors := content.ByName()
	var names []string
	for name := range tensors {
		names = append(names, name)
	}
	return readNamed(file, "safetensors", names, o, func(name string, check func(*array) error) (*array, error) {
		t := tensors[name]
		a := &array{name: fmt.Sprintf("%s: %s", file, name), dims: t.Shape, raw: t.Data, order: binary.LittleEndian}
		switch t.DType {
		case "U8":
			a.kind, a.size = 'u', 1
		case "I32":
			a.kind, a.size = 'i', 4
		case "I64":
			a.kind, a.size = 'i', 8
		case "F32":
			a.kind, a.size = 'f', 4
		case "F64":
			a.kind, a.size = 'f', 8
		}
		return a, check(a)
	})
}
