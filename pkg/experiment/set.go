package experiment

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// assignment is what a command line puts in the place of a document's value:
// PATH=VALUE.
type assignment struct {
	text  string
	path  []docStep
	value *node
}

// docStep is a field of an object, or an entry of a list in brackets: its index, the
// kind of the component that it is, or + for a new one.
type docStep struct {
	field string
	entry string
}

var (
	setField = regexp.MustCompile(`^[A-Za-z0-9_-]+`)
	setEntry = regexp.MustCompile(`^\[([0-9]{1,6}|\+|[a-z][a-z0-9-]*)\]`)
)

const setFlag = "--set "

const howToSet = "write PATH=VALUE, for example learner.optimizer.lr=0.1, learner.methods[l2].lambda=1e-4 or sweep.grid[\"learner.optimizer.lr\"]=[0.1, 0.01]"

// readAssignment reads one assignment. Its value is YAML.
func (r *reader) assignment(text string) (assignment, error) {
	a := assignment{text: text}
	fail := func(format string, args ...any) (assignment, error) {
		return a, fmt.Errorf("--set %s: %s", shorten(text), fmt.Sprintf(format, args...))
	}
	rest := text
	for {
		switch {
		case strings.HasPrefix(rest, `["`):
			q, err := strconv.QuotedPrefix(rest[1:])
			if err != nil || !strings.HasPrefix(rest[1+len(q):], "]") || len(a.path) == 0 {
				return fail("%s", howToSet)
			}
			name, _ := strconv.Unquote(q) // what has a quoted prefix can be unquoted
			a.path, rest = append(a.path, docStep{field: name}), rest[len(q)+2:]
		case strings.HasPrefix(rest, "["):
			m := setEntry.FindStringSubmatch(rest)
			if m == nil || len(a.path) == 0 {
				return fail("%s", howToSet)
			}
			a.path, rest = append(a.path, docStep{entry: m[1]}), rest[len(m[0]):]
		default:
			name := setField.FindString(rest)
			if name == "" {
				return fail("%s", howToSet)
			}
			a.path, rest = append(a.path, docStep{field: name}), rest[len(name):]
		}
		if len(a.path) > maxDepth {
			return fail("more than %d names inside each other", maxDepth)
		}
		value, ends := strings.CutPrefix(rest, "=")
		if ends {
			rest = value
			break
		}
		if next, dot := strings.CutPrefix(rest, "."); dot {
			rest = next
		} else if !strings.HasPrefix(rest, "[") {
			return fail("%s", howToSet)
		}
	}
	errs := len(r.errs)
	r.file = setFlag + shorten(text)
	v, err := r.yaml([]byte(rest))
	r.file = ""
	switch {
	case err != nil:
		return fail("the value: %v", err)
	case len(r.errs) > errs:
		return a, r.errs[errs]
	case v == nil:
		return fail("a value is missing; null takes the field out")
	}
	a.value = v
	return a, nil
}

// apply puts the value in its place. Objects on the way that are not there are made,
// entries of lists must be there; what null takes out must be, too.
func (a assignment) apply(root *node) error {
	if name := a.path[0].field; name == "include" || name == "forms" {
		return fmt.Errorf("--set %s: what a file includes and its forms cannot be set; a form's values are set like all others", shorten(a.text))
	}
	if err := a.unused(root); err != nil {
		return err
	}
	n := root
	at := ""
	fail := func(format string, args ...any) error {
		return fmt.Errorf("--set %s: %s", shorten(a.text), fmt.Sprintf(format, args...))
	}
	for i, st := range a.path {
		last := i == len(a.path)-1
		if st.entry == "" {
			if n.kind == nullNode && n != root {
				*n = node{kind: objectNode, line: n.line} // "arm:" with nothing behind it
			}
			if n.kind != objectNode {
				return fail("%s is %s, not an object", orDocument(at), n.kind)
			}
			at = keyed(at, st.field)
			switch next := n.fields[st.field]; {
			case last && a.value.kind == nullNode && next == nil:
				return fail("there is no %s to take out", at)
			case last && a.value.kind == nullNode:
				n.take(st.field)
			case last && st.field == "kind" && n.fields["kind"] != nil && n.fields["kind"].text != a.value.text:
				// Another component, which has parameters of its own.
				*n = node{kind: objectNode, line: a.value.line}
				n.put("kind", a.value)
			case last:
				n.put(st.field, a.value)
			case next == nil:
				kind := objectNode
				if a.path[i+1].entry != "" {
					kind = listNode
				}
				made := &node{kind: kind, line: a.value.line}
				n.put(st.field, made)
				n = made
			default:
				n.put(st.field, next.owned())
				n = n.fields[st.field]
			}
			continue
		}
		if n.kind != listNode {
			return fail("%s is %s, not a list", orDocument(at), n.kind)
		}
		k, err := entryOf(n, st.entry)
		if err != nil {
			return fail("%s %v", at, err)
		}
		at = indexed(at, k)
		switch {
		case last && a.value.kind == nullNode:
			n.list = slices.Delete(n.list, k, k+1)
		case last:
			n.list[k] = a.value
		default:
			n.list[k] = n.list[k].owned()
			n = n.list[k]
		}
	}
	return nil
}

// kept says which arms have a value of their own in the place of the assignment's, or
// vary it.
func (a assignment) kept(root *node) (notes []string) {
	if !slices.Contains(armParts, a.path[0].field) {
		return nil
	}
	written, _, _ := strings.Cut(a.text, "=")
	say := func(arm, what string) {
		notes = append(notes, fmt.Sprintf("--set %s: arm %s %s: --set %s.%s", shorten(a.text), arm, what, keyed("arms", arm), shorten(a.text)))
	}
	if arms := root.fields["arms"]; arms != nil {
		for _, name := range arms.keys {
			if arm := arms.fields[name]; arm.kind == objectNode && arm.gives(written) {
				say(name, "has its own")
			}
		}
	}
	sweep := root.fields["sweep"]
	if sweep == nil || sweep.fields["arms"] == nil {
		return notes
	}
	for _, name := range sweep.fields["arms"].keys {
		own := sweep.fields["arms"].fields[name]
		if varied(own, written) != "" {
			notes = append(notes, fmt.Sprintf("--set %s: arm %s varies it in %s", shorten(a.text), name, keyed("sweep.arms", name)))
		}
	}
	return notes
}

// varied is where a space of hyperparameters varies a path, or "".
func varied(space *node, path string) string {
	for _, part := range [][]string{{"grid"}, {"random", "params"}} {
		n, at := space, ""
		for _, name := range part {
			if n = n.fields[name]; n == nil {
				break
			}
			at = keyed(at, name)
		}
		if n != nil && n.fields[path] != nil {
			return keyed(at, path)
		}
	}
	return ""
}

// unused refuses a value that a sweep over the same path would hide.
func (a assignment) unused(root *node) error {
	written, _, _ := strings.Cut(a.text, "=")
	sweep := root.fields["sweep"]
	if sweep == nil || a.path[0].field == "sweep" {
		return nil
	}
	if at := varied(sweep, written); at != "" {
		at = "sweep." + at
		return fmt.Errorf("--set %s: %s varies it: set that, as in --set '%s=[0.1, 0.01]', or take it out with --set '%s=null'", shorten(a.text), at, at, at)
	}
	return nil
}

// entryOf finds an entry of a list by its index or its kind; + makes a new one.
func entryOf(n *node, which string) (int, error) {
	if which == "+" {
		n.list = append(n.list, &node{kind: objectNode, line: n.line})
		return len(n.list) - 1, nil
	}
	if i, err := strconv.Atoi(which); err == nil {
		if i >= len(n.list) {
			return 0, fmt.Errorf("has %d entries, none at index %d; [+] adds one", len(n.list), i)
		}
		return i, nil
	}
	found, kinds := -1, []string{}
	for i, e := range n.list {
		kind := e.fields["kind"]
		if kind == nil {
			continue
		}
		kinds = append(kinds, kind.text)
		if kind.text != which {
			continue
		}
		if found >= 0 {
			return 0, fmt.Errorf("has several entries of kind %q: name one by index, from 0", which)
		}
		found = i
	}
	if found < 0 {
		return 0, fmt.Errorf("has no entry of kind %q (have: %s); [+] adds one", which, listed(kinds))
	}
	return found, nil
}

// owned is a copy of a node that can be changed while what it has inside is shared.
func (n *node) owned() *node {
	out := n.copied()
	out.list = slices.Clone(n.list)
	return out
}

func orDocument(at string) string {
	if at == "" {
		return "the document"
	}
	return at
}
