package experiment

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// Form is a size of an experiment: one file describes the same experiment small
// and large.
type Form string

// The forms of a file. The document itself is the default one; the others are
// patches over it, under "forms".
const (
	Quick   Form = "quick"   // does it run, does the direction show
	Default Form = "default" // what verdicts are made of
	Full    Form = "full"    // the protocol as it was published
)

// Forms lists all forms, the smallest first.
var Forms = []Form{Quick, Default, Full}

// Document is an experiment file: the experiment in each of its forms, and what
// is said to its readers only. No server sees forms, notes or what is untested.
type Document struct {
	// Text is the file as it was written.
	Text []byte

	variants []Variant
}

// Variant is an experiment file in one of its forms.
type Variant struct {
	Form Form
	Spec *pb.ExperimentSpec
	// Notes of the claims, in their order: the suspected reason where one did
	// not hold. "" for none.
	Notes []string
	// Untested is what the paper claims and this experiment cannot check.
	Untested []Untested
	// Kept says which arms do not have the values of Options.Set, since they give or
	// vary them themselves.
	Kept []string

	patch *node
}

// Untested is a claim of a paper that an experiment cannot check.
type Untested struct {
	Paper string `json:"paper"` // what the paper says
	Why   string `json:"why"`   // what is missing
}

// Options say how an experiment file is read.
type Options struct {
	// Dir is the folder of the file, to which what it includes is relative. Without it
	// a document that includes files is refused.
	Dir string
	// Set are assignments PATH=VALUE over the file, in each of its forms.
	Set []string
}

// ReadDocument reads an experiment file with all of its forms. Errors are as in
// [Parse], those of a patch at its place, as in forms.quick.stream.
func ReadDocument(b []byte, o Options) (*Document, error) {
	if len(b) > MaxFileBytes {
		return nil, fmt.Errorf("%d bytes are more than the %d that an experiment may have", len(b), MaxFileBytes)
	}
	return readDocument(&includer{reader: &reader{}, bytes: len(b)}, b, o)
}

func readDocument(in *includer, b []byte, o Options) (*Document, error) {
	root, err := in.document(b)
	if err != nil {
		return nil, err
	}
	if root, err = in.resolve(root, o.Dir); err != nil {
		return nil, err
	}
	var set []assignment
	for _, text := range o.Set {
		a, err := in.assignment(text)
		if err != nil {
			return nil, err
		}
		set = append(set, a)
	}
	forms := root.take("forms")
	md := (&pb.ExperimentSpec{}).ProtoReflect().Descriptor()
	if err := checkAgainst(root, md); err != nil {
		return nil, err
	}
	patches, err := readForms(forms)
	if err != nil {
		return nil, err
	}
	d := &Document{Text: b}
	for _, f := range Forms {
		patch, given := patches[f]
		if !given && f != Default {
			continue
		}
		v, err := readVariant(root, f, patch, set)
		if err != nil {
			return nil, err
		}
		d.variants = append(d.variants, v)
	}
	return d, nil
}

// ReadDocumentFile reads an experiment file as [ReadDocument] does, with what it
// includes; "-" is the standard input. Every error names the file.
func ReadDocumentFile(path string, set ...string) (*Document, error) {
	f, name, o := os.Stdin, "standard input", Options{Dir: ".", Set: set}
	in := &includer{reader: &reader{}}
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("open experiment: %w", err)
		}
		defer f.Close()
		name, o.Dir = path, filepath.Dir(path)
		if info, err := f.Stat(); err == nil {
			in.open = append(in.open, info)
		}
	}
	// One byte more than allowed distinguishes a large file from one that just fits,
	// whatever size the file says it has.
	b, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read experiment %s: %w", name, err)
	}
	if len(b) > MaxFileBytes {
		return nil, fmt.Errorf("%s: larger than the %d bytes that an experiment may have", name, MaxFileBytes)
	}
	in.bytes = len(b)
	d, err := readDocument(in, b, o)
	return d, InFile(name, err)
}

// Forms lists the forms that the file has, the smallest first.
func (d *Document) Forms() []Form {
	out := make([]Form, len(d.variants))
	for i, v := range d.variants {
		out[i] = v.Form
	}
	return out
}

// Variant returns the experiment in one of its forms.
func (d *Document) Variant(f Form) (Variant, error) {
	for _, v := range d.variants {
		if v.Form == f {
			return v, nil
		}
	}
	have := make([]string, len(d.variants))
	for i, v := range d.variants {
		have[i] = string(v.Form)
	}
	return Variant{}, fmt.Errorf("there is no %s form (have: %s): write what it changes under forms.%s", f, strings.Join(have, ", "), f)
}

// Validate is [Validate] for every form. A mistake in a patch is reported at
// its place there, one of the default form only once.
func (d *Document) Validate() error {
	var all []error
	failed := map[Form][]*component.FieldError{}
	for _, f := range []Form{Default, Quick, Full} { // what the others share is the default's mistake
		v, err := d.Variant(f)
		if err != nil {
			continue
		}
		err = Validate(v.Spec)
		if err == nil {
			continue
		}
		failed[f] = component.FieldErrors(err)
		if len(failed[f]) == 0 {
			return err
		}
		for _, fe := range failed[f] {
			given := f != Default && v.patch.gives(fe.Field)
			switch {
			case f == Default:
				all = append(all, fe)
			case given:
				all = append(all, component.At(keyed("forms", string(f)), fe))
			case !slices.ContainsFunc(failed[Default], func(have *component.FieldError) bool { return have.Field == fe.Field }):
				all = append(all, &component.FieldError{Field: fe.Field, Problem: fmt.Sprintf("%s (in the %s form)", fe.Problem, f), Err: fe.Err})
			}
		}
	}
	return join(all)
}

// readForms reads the patches of the forms. A patch may leave out what it does
// not change, so it is checked as the part of an experiment that it is.
func readForms(forms *node) (map[Form]*node, error) {
	out := map[Form]*node{}
	if forms == nil {
		return out, nil
	}
	c := &checker{patch: true}
	if !c.want(forms, objectNode, "forms") {
		return nil, join(c.errs)
	}
	names := []string{string(Quick), string(Full)}
	for _, key := range forms.keys {
		patch, at := forms.fields[key], keyed("forms", key)
		switch {
		case key == string(Default):
			c.fail(at, patch.line, "the document itself is the default form: only the others are patches over it (have: %s)", strings.Join(names, ", "))
			continue
		case !slices.Contains(names, key):
			c.fail(at, patch.line, "unknown form%s (have: %s)", component.DidYouMean(key, names), strings.Join(names, ", "))
			continue
		case patch.kind == nullNode: // "quick:" with nothing behind it is the document unchanged
			patch = &node{kind: objectNode, line: patch.line}
		}
		if !c.want(patch, objectNode, at) {
			continue
		}
		for _, fixed := range []string{"name", "paper", "forms", "include"} {
			if v := patch.take(fixed); v != nil {
				c.fail(keyed(at, fixed), v.line, "a form cannot change this")
			}
		}
		c.message(patch, (&pb.ExperimentSpec{}).ProtoReflect().Descriptor(), at)
		out[Form(key)] = patch
	}
	return out, join(c.errs)
}

// readVariant applies a patch, nil for none, and reads what results.
func readVariant(root *node, f Form, patch *node, set []assignment) (Variant, error) {
	v := Variant{Form: f, Spec: &pb.ExperimentSpec{}, patch: patch}
	at := ""
	if patch != nil {
		at = keyed("forms", string(f))
		var errs []error
		root = mergeNodes(root, patch, at, 0, &errs)
		if len(errs) > 0 {
			return v, join(errs)
		}
	}
	if len(set) > 0 {
		root = root.owned()
		for _, a := range set {
			if err := a.apply(root); err != nil {
				return v, err
			}
		}
		for _, a := range set { // when all are there
			v.Kept = append(v.Kept, a.kept(root)...)
		}
		if err := checkAgainst(root, v.Spec.ProtoReflect().Descriptor()); err != nil {
			return v, err
		}
	}
	c := &checker{}
	c.arms(root, at)
	whole := &node{kind: objectNode, line: root.line}
	for _, key := range root.keys {
		switch field := root.fields[key]; key {
		case "untested":
			v.Untested = c.untested(field, at)
		case "claims":
			bare := &node{kind: listNode, line: field.line}
			for _, cl := range field.list {
				cl = cl.copied()
				note := ""
				if n := cl.take("note"); n != nil {
					note = n.text
				}
				v.Notes, bare.list = append(v.Notes, note), append(bare.list, cl)
			}
			whole.put(key, bare)
		default:
			whole.put(key, field)
		}
	}
	if len(c.errs) > 0 {
		return v, join(c.errs)
	}
	if err := protojson.Unmarshal(whole.appendJSON(nil), v.Spec); err != nil {
		return v, fmt.Errorf("read experiment: %w", err)
	}
	if arms := root.fields["arms"]; arms != nil && len(v.Spec.GetArmOrder()) == 0 {
		v.Spec.ArmOrder = armOrder(arms)
	}
	return v, nil
}

// mergeNodes applies a patch to a document by the rules of [merge]: objects
// merge field by field, null takes out, all else replaces, and so does another
// kind. What a null is to take out must be there: a patch with a mistyped name
// would do nothing. Arms are patches themselves; a null in one that takes out
// nothing of the arm stays, and takes it out of the base; so are the forms of a
// document that another one includes. Neither tree is changed.
func mergeNodes(base, patch *node, at string, armDepth int, errs *[]error) *node {
	if patch.kind != objectNode {
		return patch
	}
	out := &node{kind: objectNode, line: patch.line}
	if base != nil && base.kind == objectNode {
		if kind := patch.fields["kind"]; kind == nil || base.fields["kind"] != nil && kind.text == base.fields["kind"].text {
			out = base.copied()
		}
	}
	for _, key := range patch.keys {
		v, path := patch.fields[key], keyed(at, key)
		depth := armDepth
		if depth > 0 || key == "arms" && (at == "" || strings.Count(at, ".") == 1) || key == "forms" && at == "" {
			depth++
		}
		switch {
		case v.kind == nullNode && out.fields[key] != nil:
			out.take(key)
		case v.kind == nullNode && depth > 2:
			out.put(key, v)
		case v.kind == nullNode:
			*errs = append(*errs, lineError(path, v.line, "there is nothing of this name to take out"))
		default:
			out.put(key, mergeNodes(out.fields[key], v, path, depth, errs))
		}
	}
	return out
}

// gives reports whether the place that an error names comes from the patch: the
// patch gives it, or replaces the list or component that it is in.
func (n *node) gives(field string) bool {
	for i, part := range fieldParts(field) {
		if n.kind != objectNode {
			return true // inside a list or a scalar of the patch
		}
		next, ok := n.fields[part]
		if !ok {
			// A missing field of a component that the patch put there is the
			// patch's fault; at the top the patch just does not say.
			return i > 0 && n.fields["kind"] != nil
		}
		n = next
	}
	return field != ""
}

// fieldParts splits a path as errors write it: names with dots are quoted.
func fieldParts(field string) []string {
	var parts []string
	for rest := strings.TrimLeft(field, ".[]"); rest != ""; rest = strings.TrimLeft(rest, ".[]") {
		if q, err := strconv.QuotedPrefix(rest); err == nil {
			name, _ := strconv.Unquote(q) // what has a quoted prefix can be unquoted
			parts, rest = append(parts, name), rest[len(q):]
			continue
		}
		end := strings.IndexAny(rest, ".[]")
		if end < 0 {
			end = len(rest)
		}
		parts, rest = append(parts, rest[:end]), rest[end:]
	}
	return parts
}
