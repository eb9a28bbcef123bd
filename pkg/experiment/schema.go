package experiment

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"neoteny/pkg/engine/component"
)

// checkAgainst compares a document with a message: unknown fields and values
// of the wrong type are errors at their path. It also distinguishes what the
// message cannot: arms that are given but empty, from no arms.
func checkAgainst(root *node, md protoreflect.MessageDescriptor) error {
	c := &checker{}
	c.message(root, md, "")
	c.arms(root, "")
	return join(c.errs)
}

// checker collects the mistakes of a document.
type checker struct {
	errs  []error
	patch bool // what is checked is a patch, in which null takes a field out
}

// clientFields are fields of a document that no message has: they are for its
// readers, and no server sees them.
var clientFields = map[protoreflect.FullName][]string{
	"neoteny.v1.ExperimentSpec": {"untested", "forms", "include"},
	"neoteny.v1.Claim":          {"note"},
}

func (c *checker) arms(root *node, at string) {
	if arms, ok := root.fields["arms"]; ok && (arms.kind == nullNode || arms.kind == objectNode && len(arms.keys) == 0) {
		c.fail(keyed(at, "arms"), arms.line, "an empty arm list: name at least one arm, or leave arms out for a single arm named %q", BaseArm)
	}
	if base := root.fields["arms"]; base != nil {
		if base = base.fields[BaseArm]; base != nil && len(base.keys) > 0 {
			c.fail(keyed(keyed(at, "arms"), BaseArm), base.line, "%s is the experiment as it stands, and this arm changes it: give it another name", BaseArm)
		}
	}
}

// untested reads the list of what a document cannot check.
func (c *checker) untested(n *node, at string) []Untested {
	var out []Untested
	at = keyed(at, "untested")
	if !c.want(n, listNode, at) {
		return nil
	}
	names := []string{"paper", "why"}
	for i, e := range n.list {
		at := indexed(at, i)
		if !c.want(e, objectNode, at) {
			continue
		}
		for _, k := range e.keys {
			if !slices.Contains(names, k) {
				c.fail(keyed(at, k), e.fields[k].line, "unknown field%s (have: %s)", component.DidYouMean(k, names), strings.Join(names, ", "))
			}
		}
		var text [2]string
		for j, k := range names {
			if v := e.fields[k]; v == nil || v.kind == textNode && v.text == "" {
				c.fail(keyed(at, k), e.line, "missing: an entry says what the paper claims (paper) and why it is not tested (why)")
			} else if c.want(v, textNode, keyed(at, k)) {
				text[j] = v.text
			}
		}
		out = append(out, Untested{Paper: text[0], Why: text[1]})
	}
	return out
}

func (c *checker) fail(path string, line place, format string, args ...any) {
	if len(c.errs) < maxErrors {
		c.errs = append(c.errs, lineError(path, line, format, args...))
	}
}

func (c *checker) message(n *node, md protoreflect.MessageDescriptor, path string) {
	switch md.FullName() {
	case "google.protobuf.Struct":
		if n.kind == nullNode && strings.HasPrefix(path, "arms") {
			// "backprop:" with nothing behind it is the base unchanged.
			*n = node{kind: objectNode, line: n.line}
		}
		c.want(n, objectNode, path)
		return
	case "google.protobuf.ListValue":
		c.want(n, listNode, path)
		return
	}
	if !c.want(n, objectNode, path) {
		return
	}
	for i, key := range n.keys {
		v, at := n.fields[key], keyed(path, key)
		if c.patch && v.kind == nullNode {
			continue
		}
		fd := md.Fields().ByName(protoreflect.Name(key))
		if fd == nil {
			if fd = md.Fields().ByJSONName(key); fd != nil && n.fields[string(fd.Name())] == nil {
				// One name for a field, so that forms find it.
				n.keys[i], n.fields[string(fd.Name())] = string(fd.Name()), v
				delete(n.fields, key)
			}
		}
		switch {
		case fd == nil && slices.Contains(clientFields[md.FullName()], key):
			switch key {
			case "note":
				c.want(v, textNode, at)
			case "untested":
				c.untested(v, path)
			}
		case fd == nil:
			names := fieldNames(md)
			c.fail(at, v.line, "unknown field%s (have: %s)", component.DidYouMean(key, names), strings.Join(names, ", "))
		case path == "" && key == "arms" && v.kind == nullNode:
			*v = node{kind: objectNode, line: v.line} // reported as an empty list
		case fd.IsMap():
			if c.want(v, objectNode, at) {
				for _, k := range v.keys {
					if c.patch && v.fields[k].kind == nullNode {
						continue
					}
					c.single(v.fields[k], fd.MapValue(), keyed(at, k))
				}
			}
		case fd.IsList():
			if c.want(v, listNode, at) {
				for i, e := range v.list {
					c.single(e, fd, indexed(at, i))
				}
			}
		default:
			c.single(v, fd, at)
		}
	}
}

func fieldNames(md protoreflect.MessageDescriptor) []string {
	names := make([]string, md.Fields().Len())
	for i := range names {
		names[i] = string(md.Fields().Get(i).Name())
	}
	return append(names, clientFields[md.FullName()]...)
}

func (c *checker) single(n *node, fd protoreflect.FieldDescriptor, path string) {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		c.message(n, fd.Message(), path)
	case protoreflect.StringKind:
		c.want(n, textNode, path)
	case protoreflect.BoolKind:
		c.want(n, boolNode, path)
	case protoreflect.DoubleKind:
		c.want(n, numberNode, path)
	case protoreflect.Int32Kind:
		c.whole(n, path, math.MinInt32, math.MaxInt32)
	case protoreflect.Uint32Kind:
		c.whole(n, path, 0, math.MaxUint32)
	case protoreflect.Uint64Kind:
		if c.want(n, numberNode, path) {
			if _, err := strconv.ParseUint(n.text, 10, 64); err != nil {
				c.fail(path, n.line, "must be a whole number from 0 to 2^64-1, is %s", shorten(n.text))
			}
		}
	default:
		panic(fmt.Sprintf("experiment: the spec has a field of kind %v that Parse does not know", fd.Kind()))
	}
}

func (c *checker) whole(n *node, path string, lo, hi float64) {
	if !c.want(n, numberNode, path) {
		return
	}
	v, err := strconv.ParseFloat(n.text, 64)
	if err != nil || v != math.Trunc(v) || v < lo || v > hi {
		c.fail(path, n.line, "must be a whole number from %.0f to %.0f, is %s", lo, hi, shorten(n.text))
	}
}

func (c *checker) want(n *node, kind nodeKind, path string) bool {
	switch n.kind {
	case kind:
		return true
	case nullNode:
		c.fail(path, n.line, "has no value: it must be %s", kind)
	case textNode, numberNode, boolNode:
		c.fail(path, n.line, "must be %s, is %s", kind, quoteText(n))
	default:
		c.fail(path, n.line, "must be %s, is %s", kind, n.kind)
	}
	return false
}

func quoteText(n *node) string {
	if n.kind == textNode {
		return strconv.Quote(shorten(n.text))
	}
	return shorten(n.text)
}
