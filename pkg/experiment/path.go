package experiment

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A path names a place in a spec: field names separated by dots, entries of
// lists in brackets by index or by kind.
//
//	learner.optimizer.lr
//	learner.methods[0].lambda
//	learner.methods[l2].lambda
type path []step

// step is one part of a path: a field of an object or an entry of a list.
type step struct {
	field string // name of a field, unless entry
	entry bool
	kind  string // kind of the entry, or
	index int    // its index
}

const maxPathLen = 512

var pathPart = regexp.MustCompile(`^(?:([A-Za-z0-9_-]+)|\[([0-9]{1,9}|[a-z][a-z0-9-]*)\])`)

// specParts are the fields of a spec that sweeps vary.
var specParts = []string{"stream", "environment", "learner", "probes"}

// armParts are the fields of a spec that arms patch.
var armParts = append(specParts[:len(specParts):len(specParts)], "needs")

func parsePath(s string) (path, error) {
	if len(s) > maxPathLen {
		return nil, fmt.Errorf("a path of %d characters is longer than %d", len(s), maxPathLen)
	}
	var p path
	for rest := s; rest != ""; {
		m := pathPart.FindStringSubmatch(rest)
		if m == nil || (m[1] == "" && len(p) == 0) {
			return nil, fmt.Errorf("not a path at %q: write for example learner.optimizer.lr or learner.methods[l2].lambda", rest)
		}
		st := step{field: m[1]}
		if m[2] != "" {
			st = step{entry: true, kind: m[2]}
			if i, err := strconv.Atoi(m[2]); err == nil {
				st = step{entry: true, index: i}
			}
		}
		p = append(p, st)
		rest = rest[len(m[0]):]
		if after, dot := strings.CutPrefix(rest, "."); dot {
			rest = after
			if rest == "" || rest[0] == '[' {
				return nil, fmt.Errorf("not a path: a field name must follow the dot")
			}
		} else if rest != "" && rest[0] != '[' {
			return nil, fmt.Errorf("not a path at %q: fields are separated by dots", rest)
		}
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("an empty path")
	}
	if !slices.Contains(specParts, p[0].field) {
		return nil, fmt.Errorf("a path begins with one of %s", strings.Join(specParts, ", "))
	}
	return p, nil
}

// String writes the path as parsePath reads it.
func (p path) String() string {
	s := ""
	for _, st := range p {
		switch {
		case !st.entry:
			s = keyed(s, st.field)
		case st.kind != "":
			s += "[" + st.kind + "]"
		default:
			s = indexed(s, st.index)
		}
	}
	return s
}

// resolve finds the value at p and returns p with every kind replaced by the
// index that it stands for. A kind that occurs twice in a list is an error,
// as is a place that does not exist.
func (p path) resolve(root any) (path, any, error) {
	var out path
	v := root
	for _, st := range p {
		if !st.entry {
			m, ok := v.(map[string]any)
			if !ok {
				return nil, nil, fmt.Errorf("%s is not an object", orSpec(out))
			}
			if v, ok = m[st.field]; !ok {
				return nil, nil, fmt.Errorf("%s has no field %q", orSpec(out), st.field)
			}
			out = append(out, st)
			continue
		}
		l, ok := v.([]any)
		if !ok {
			return nil, nil, fmt.Errorf("%s is not a list", orSpec(out))
		}
		i := st.index
		if st.kind != "" {
			at := entriesOfKind(l, st.kind)
			if len(at) == 0 {
				return nil, nil, fmt.Errorf("%s has no entry of kind %q", orSpec(out), st.kind)
			}
			if len(at) > 1 {
				return nil, nil, fmt.Errorf("%s has %d entries of kind %q: name one by index", orSpec(out), len(at), st.kind)
			}
			i = at[0]
		}
		if i >= len(l) {
			return nil, nil, fmt.Errorf("%s has %d entries, none at index %d", orSpec(out), len(l), i)
		}
		out = append(out, step{entry: true, index: i})
		v = l[i]
	}
	return out, v, nil
}

func orSpec(p path) string {
	if len(p) == 0 {
		return "the spec"
	}
	return p.String()
}

func entriesOfKind(l []any, kind string) []int {
	var at []int
	for i, e := range l {
		if m, ok := e.(map[string]any); ok && m["kind"] == kind {
			at = append(at, i)
		}
	}
	return at
}

// set returns a copy of root with the value at p, which has no kinds left,
// replaced. Objects and lists beside the path are shared with root. It panics
// where p leads through a list that is too short or no list at all, which
// resolve has ruled out.
func (p path) set(root, value any) any {
	if len(p) == 0 {
		return clone(value)
	}
	if p[0].entry {
		l := slices.Clone(root.([]any))
		l[p[0].index] = p[1:].set(l[p[0].index], value)
		return l
	}
	m, _ := root.(map[string]any)
	if m = maps.Clone(m); m == nil {
		m = map[string]any{}
	}
	m[p[0].field] = p[1:].set(m[p[0].field], value)
	return m
}

// within reports whether p is q or leads to a place inside q.
func (p path) within(q path) bool {
	return len(p) >= len(q) && slices.Equal(p[:len(q)], q)
}

// leaves lists the paths of all parameters of a spec, except kinds.
func leaves(root any) []string {
	var out []string
	var walk func(path, any)
	walk = func(p path, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(append(slices.Clip(p), step{field: k}), v[k])
			}
			return
		case []any:
			if len(v) > 0 {
				if _, ok := v[0].(map[string]any); ok {
					for i, e := range v {
						walk(append(slices.Clip(p), step{entry: true, index: i}), e)
					}
					return
				}
			}
		}
		if p[len(p)-1].field != "kind" {
			out = append(out, p.String())
		}
	}
	walk(nil, root)
	return out
}

// nearest returns the few paths of a spec that are most like s: those that end
// in the same name first, then those that begin alike.
func nearest(s string, root any) []string {
	type scored struct {
		path  string
		score int
	}
	last := s[strings.LastIndexAny(s, ".]")+1:]
	var all []scored
	for _, l := range leaves(root) {
		score := 2 * commonPrefix(l, s)
		if strings.HasSuffix(l, "."+last) {
			score += 100
		}
		all = append(all, scored{l, score})
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	var out []string
	for _, a := range all[:min(3, len(all))] {
		out = append(out, a.path)
	}
	return out
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
