package experiment

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"neoteny/pkg/engine/component"
)

// checkAgainst compares a document with a message: unknown fields and values
// of the wrong type are errors at their path. It also tells apart what the
// message cannot: arms that are given but empty, from no arms.
func checkAgainst(root *node, md protoreflect.MessageDescriptor) error {
	c := &checker{}
	c.message(root, md, "")
	if arms, ok := root.fields["arms"]; ok && (arms.kind == nullNode || arms.kind == objectNode && len(arms.keys) == 0) {
		c.fail("arms", arms.line, "an empty arm list: name at least one arm, or leave arms out for a single arm named %q", BaseArm)
	}
	return join(c.errs)
}

type checker struct{ errs []error }

func (c *checker) fail(path string, line int, format string, args ...any) {
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
	for _, key := range n.keys {
		v, at := n.fields[key], keyed(path, key)
		fd := md.Fields().ByName(protoreflect.Name(key))
		if fd == nil {
			fd = md.Fields().ByJSONName(key)
		}
		switch {
		case fd == nil:
			names := fieldNames(md)
			c.fail(at, v.line, "unknown field%s (have: %s)", component.DidYouMean(key, names), strings.Join(names, ", "))
		case path == "" && key == "arms" && v.kind == nullNode:
			*v = node{kind: objectNode, line: v.line} // reported as an empty list
		case fd.IsMap():
			if c.want(v, objectNode, at) {
				for _, k := range v.keys {
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
	return names
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
