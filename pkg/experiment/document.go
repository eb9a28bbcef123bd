package experiment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"neoteny/pkg/engine/component"
)

// nodeKind is the JSON type of a node.
type nodeKind string

const (
	nullNode   nodeKind = "nothing"
	boolNode   nodeKind = "true or false"
	numberNode nodeKind = "a number"
	textNode   nodeKind = "a string"
	listNode   nodeKind = "a list"
	objectNode nodeKind = "an object"
)

// place is where a value was written. The zero place is nowhere.
type place struct {
	line int
	file string // where it is not the document itself: a file that it includes, or an assignment
}

func (p place) String() string {
	switch {
	case strings.HasPrefix(p.file, setFlag):
		return p.file
	case p.file == "":
		return fmt.Sprintf("line %d", p.line)
	}
	return fmt.Sprintf("line %d of %s", p.line, p.file)
}

// node is a value of a document with the place that it was written at. YAML and JSON
// become the same tree.
type node struct {
	kind   nodeKind
	line   place
	text   string // a string, or a number or bool as JSON writes it
	list   []*node
	keys   []string // names of an object's fields in file order
	fields map[string]*node
}

// put sets a field of an object.
func (n *node) put(key string, v *node) {
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	if n.fields[key] == nil {
		n.keys = append(n.keys, key)
	}
	n.fields[key] = v
}

// take removes a field of an object and returns it, nil where there is none.
func (n *node) take(key string) *node {
	v := n.fields[key]
	if v != nil {
		delete(n.fields, key)
		n.keys = slices.DeleteFunc(n.keys, func(k string) bool { return k == key })
	}
	return v
}

// copied is an object of its own with the same fields.
func (n *node) copied() *node {
	out := *n
	out.keys, out.fields = slices.Clone(n.keys), maps.Clone(n.fields)
	return &out
}

// document reads one YAML or JSON document whose root is an object.
func (r *reader) document(b []byte) (*node, error) {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if !utf8.Valid(b) {
		return nil, errors.New("not a text file in UTF-8")
	}
	var root *node
	// JSON is read as JSON because YAML refuses a few of its escapes.
	if t := bytes.TrimLeft(b, " \t\r\n"); len(t) > 0 && t[0] == '{' && json.Valid(b) {
		root = r.json(b)
	} else {
		var err error
		if root, err = r.yaml(b); err != nil {
			return nil, err
		}
	}
	if len(r.errs) > 0 {
		return nil, join(r.errs)
	}
	if root == nil || root.kind == nullNode {
		return nil, errors.New("the file is empty: an experiment has at least name, stream and learner")
	}
	if root.kind != objectNode {
		return nil, fmt.Errorf("%s: an experiment must be an object with fields such as name, stream and learner, is %s", root.line, root.kind)
	}
	return root, nil
}

// reader builds the tree of a document within the limits.
type reader struct {
	file         string // that is read, where it is not the document itself
	values, text int
	full         bool
	errs         []error
}

func (r *reader) at(line int) place { return place{line, r.file} }

const maxErrors = 20

func (r *reader) fail(path string, line place, format string, args ...any) *node {
	if len(r.errs) < maxErrors {
		r.errs = append(r.errs, lineError(path, line, format, args...))
	}
	return &node{kind: nullNode, line: line}
}

func lineError(path string, line place, format string, args ...any) error {
	return &component.FieldError{Field: path, Problem: fmt.Sprintf(format, args...) + fmt.Sprintf(" (%s)", line)}
}

// spend counts a value and its text against the limits.
func (r *reader) spend(path string, line place, depth, text int) bool {
	if r.full {
		return false
	}
	r.values++
	r.text += text
	problem := ""
	switch {
	case depth > maxDepth:
		problem = fmt.Sprintf("more than %d objects and lists inside each other", maxDepth)
	case r.values > maxValues:
		problem = fmt.Sprintf("more than %d values, aliases written out", maxValues)
	case r.text > maxText:
		problem = fmt.Sprintf("more than %d bytes of text, aliases written out", maxText)
	default:
		return true
	}
	r.full = true
	r.fail(path, line, "%s", problem)
	return false
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	// Complaints of the YAML library's parser, unlike those of its scanner,
	// give the line before.
	yamlParser = regexp.MustCompile(`did not find expected (<document start>|node content|'-' indicator|key|',' or '[\]}]')$|found undefined tag handle$`)
)

// yaml reads a YAML document. It walks the parser's nodes itself, so that
// aliases are counted as they are written out and errors know their line.
func (r *reader) yaml(b []byte) (root *node, err error) {
	// The parser reports what it cannot read by an error; should it panic on
	// hostile input, the caller still gets one.
	defer func() {
		if p := recover(); p != nil {
			root, err = nil, fmt.Errorf("not readable as YAML: %v", p)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, yamlError(err, b)
	}
	if err := dec.Decode(&more); err == nil {
		return nil, fmt.Errorf("line %d: a second document: one file holds one experiment", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err, b)
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return r.yamlNode(doc.Content[0], "", 0), nil
}

func yamlError(err error, b []byte) error {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("not readable as YAML: %w", err)
	}
	if line, tab := indentedByTab(b); tab {
		return fmt.Errorf("line %d begins with a tab: YAML indents by spaces only; put spaces in place of the tab", line)
	}
	msg := err.Error()[len(m[0]):]
	line, _ := strconv.Atoi(m[1]) // 0 where no line is given
	if yamlParser.MatchString(msg) {
		line++
	}
	if line > 0 {
		// The end of the file counts as a line of its own.
		line = min(line, bytes.Count(bytes.TrimRight(b, "\n"), []byte("\n"))+1)
		msg = fmt.Sprintf("line %d: %s", line, msg)
	}
	return errors.New("not readable as YAML: " + msg)
}

// indentedByTab returns the first line with a tab in its indentation.
func indentedByTab(b []byte) (line int, found bool) {
	for l := range bytes.Lines(b) {
		line++
		rest := bytes.TrimLeft(l, " ")
		if len(rest) > 0 && rest[0] == '\t' && len(bytes.TrimSpace(rest)) > 0 {
			return line, true
		}
	}
	return 0, false
}

func (r *reader) yamlNode(y *yaml.Node, path string, depth int) *node {
	if y.Kind == yaml.AliasNode {
		// Written out; an anchor inside itself ends at the depth limit.
		return r.yamlNode(y.Alias, path, depth)
	}
	n := &node{line: r.at(y.Line)}
	if !r.spend(path, n.line, depth, len(y.Value)) {
		return n
	}
	switch y.Kind {
	case yaml.SequenceNode:
		n.kind = listNode
		for i, c := range y.Content {
			n.list = append(n.list, r.yamlNode(c, indexed(path, i), depth+1))
			if r.full {
				break
			}
		}
	case yaml.MappingNode:
		n.kind, n.fields = objectNode, map[string]*node{}
		r.yamlFields(n, y, path, depth)
	default:
		r.yamlScalar(n, y, path)
	}
	return n
}

func (r *reader) yamlFields(n *node, y *yaml.Node, path string, depth int) {
	var merges []*yaml.Node
	for i := 0; i+1 < len(y.Content) && !r.full; i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			r.fail(path, r.at(k.Line), "a field name must be a string, is %s", map[yaml.Kind]nodeKind{yaml.SequenceNode: listNode, yaml.MappingNode: objectNode}[k.Kind])
			continue
		}
		r.field(n, k.Value, r.at(k.Line), path, depth, func(at string) *node { return r.yamlNode(v, at, depth+1) })
	}
	// "<<: *base": fields that the object does not give itself.
	for _, m := range merges {
		from := []*yaml.Node{m}
		if m.Kind == yaml.SequenceNode {
			from = m.Content
		}
		for _, f := range from {
			b := r.yamlNode(f, path, depth+1)
			if r.full {
				return
			}
			if b.kind != objectNode {
				r.fail(path, r.at(m.Line), "only an object can be merged in with <<, is %s", b.kind)
				continue
			}
			for _, k := range b.keys {
				if _, ok := n.fields[k]; !ok {
					n.keys = append(n.keys, k)
					n.fields[k] = b.fields[k]
				}
			}
		}
	}
}

// field adds one field to the object n, unless it is there already.
func (r *reader) field(n *node, name string, line place, path string, depth int, value func(at string) *node) {
	if !r.spend(path, line, depth, len(name)) {
		return
	}
	at := keyed(path, name)
	v := value(at)
	if first, ok := n.fields[name]; ok {
		r.fail(at, line, "given twice, first on %s", first.line)
		return
	}
	n.keys = append(n.keys, name)
	n.fields[name] = v
}

func (r *reader) yamlScalar(n *node, y *yaml.Node, path string) {
	switch tag := y.ShortTag(); tag {
	case "!!null":
		n.kind = nullNode
	case "!!str", "!!timestamp":
		n.kind, n.text = textNode, y.Value
	case "!!bool", "!!int", "!!float":
		var v any
		if err := y.Decode(&v); err != nil {
			r.fail(path, n.line, "%q cannot be read as %s", shorten(y.Value), tag[2:])
			return
		}
		switch v := v.(type) {
		case bool:
			n.kind, n.text = boolNode, strconv.FormatBool(v)
		case int, int64, uint64:
			n.kind, n.text = numberNode, fmt.Sprint(v)
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) {
				r.fail(path, n.line, "%s is not a value: give a finite number", strings.TrimPrefix(fmt.Sprint(v), "+"))
				return
			}
			n.kind, n.text = numberNode, numberText(v)
		default:
			r.fail(path, n.line, "%q cannot be read as %s", shorten(y.Value), tag[2:])
		}
	default:
		r.fail(path, n.line, "the YAML tag %s has no meaning here", shorten(y.Tag))
	}
}

// json reads b, which is valid JSON.
func (r *reader) json(b []byte) *node {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	j := &jsonReader{reader: r, dec: dec, src: b, line: 1}
	return j.value("", 0)
}

type jsonReader struct {
	*reader
	dec  *json.Decoder
	src  []byte
	pos  int // lines are counted up to here
	line int
}

func (j *jsonReader) next() (json.Token, place) {
	t, err := j.dec.Token()
	if err != nil { // the document was found valid
		panic(fmt.Sprintf("experiment: read valid JSON: %v", err))
	}
	end := int(j.dec.InputOffset())
	j.line += bytes.Count(j.src[j.pos:end], []byte("\n"))
	j.pos = end
	return t, j.at(j.line)
}

func (j *jsonReader) value(path string, depth int) *node {
	t, line := j.next()
	n := &node{line: line}
	switch t := t.(type) {
	case json.Delim:
		if !j.spend(path, line, depth, 0) {
			return n
		}
		if t == '[' {
			n.kind = listNode
			for i := 0; !j.full && j.dec.More(); i++ {
				n.list = append(n.list, j.value(indexed(path, i), depth+1))
			}
		} else {
			n.kind, n.fields = objectNode, map[string]*node{}
			for !j.full && j.dec.More() {
				k, line := j.next()
				j.field(n, k.(string), line, path, depth, func(at string) *node { return j.value(at, depth+1) })
			}
		}
		if !j.full {
			j.next() // the closing bracket
		}
		return n
	case string:
		n.kind, n.text = textNode, t
	case bool:
		n.kind, n.text = boolNode, strconv.FormatBool(t)
	case json.Number:
		n.kind, n.text = numberNode, t.String()
		if _, err := t.Float64(); err != nil {
			j.fail(path, line, "%s is beyond what a number can hold", shorten(n.text))
		}
	default:
		n.kind = nullNode
	}
	j.spend(path, line, depth, len(n.text))
	return n
}

// appendJSON writes the tree as JSON.
func (n *node) appendJSON(b []byte) []byte {
	switch n.kind {
	case listNode:
		b = append(b, '[')
		for i, c := range n.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = c.appendJSON(b)
		}
		return append(b, ']')
	case objectNode:
		b = append(b, '{')
		for i, k := range n.keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, k), ':')
			b = n.fields[k].appendJSON(b)
		}
		return append(b, '}')
	case textNode:
		return appendString(b, n.text)
	case numberNode, boolNode:
		return append(b, n.text...)
	}
	return append(b, "null"...)
}

func appendString(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("experiment: write a string as JSON: %v", err)) // strings always can be
	}
	return append(b, q...)
}

// numberText writes a number as JSON.
func numberText(v float64) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("experiment: write %v as JSON: %v", v, err)) // callers give finite numbers
	}
	return string(b)
}

// shorten cuts a text that a message quotes.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// keyed is the path of a field of the object at path. Names with dots and the
// like are quoted: sweep.grid["learner.optimizer.lr"].
func keyed(path, name string) string {
	if !plainKey.MatchString(name) {
		return path + "[" + strconv.Quote(shorten(name)) + "]"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// indexed is the path of an entry of the list at path.
func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// appendUnique appends the mistakes in err whose fields have none yet.
func appendUnique(errs []*component.FieldError, err error) []*component.FieldError {
	for _, fe := range component.FieldErrors(err) {
		if !slices.ContainsFunc(errs, func(have *component.FieldError) bool { return have.Field == fe.Field }) {
			errs = append(errs, fe)
		}
	}
	return errs
}
