package graph

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the compiler does now into testdata/*.txt")

// Scripts in testdata are programs with what the compiler makes of them:
//
//	program
//	w = var 784x100
//	x = input 1x784
//	y = MatMul x w
//	output y y
//	----
//	the listing
//
// A line is a variable, an input, labels, a constant, the call of a method of [Builder]
// on values and numbers, `g h = grad loss w v`, `assign w new` or `output name value`.
// Blank lines end a case; lines that begin with # are comments. -update rewrites the
// listings.
func TestCompilerScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			var out strings.Builder
			cases := 0
			in := bufio.NewScanner(strings.NewReader(string(b)))
			for in.Scan() {
				line := in.Text()
				fmt.Fprintln(&out, line)
				if line != "program" {
					require.True(t, line == "" || strings.HasPrefix(line, "#"), "%q is in no case", line)
					continue
				}
				cases++
				s := newScript()
				for in.Scan() && in.Text() != "----" {
					fmt.Fprintln(&out, in.Text())
					require.NoError(t, s.line(in.Text()), in.Text())
				}
				fmt.Fprintln(&out, "----")
				require.NoError(t, s.b.Compile().Listing().Write(&out))
				for in.Scan() && in.Text() != "" { // the old listing
				}
				fmt.Fprintln(&out)
			}
			require.Positive(t, cases)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644))
				return
			}
			require.Equal(t, strings.TrimRight(string(b), "\n"), strings.TrimRight(out.String(), "\n"))
		})
	}
}

// script traces a program line by line.
type script struct {
	s     *Store
	b     *Builder
	nodes map[string]Node
	vars  map[string]*Var
}

func newScript() *script {
	s := NewStore()
	s.List()
	return &script{s: s, b: s.Builder(), nodes: map[string]Node{}, vars: map[string]*Var{}}
}

func (s *script) line(text string) (err error) {
	defer Catch(&err)
	left, right, isDefinition := strings.Cut(text, " = ")
	w := strings.Fields(right)
	if !isDefinition {
		w = strings.Fields(left)
	}
	shape := func() (dims []int) {
		for _, d := range strings.Split(w[1], "x") {
			n, err := strconv.Atoi(d)
			if err != nil {
				panic(errorf("%q is no shape", w[1]))
			}
			dims = append(dims, n)
		}
		return dims
	}
	switch w[0] {
	case "var":
		v := s.s.New(left, F32, Persistent, shape()...)
		s.vars[left] = v
	case "input":
		s.nodes[left] = s.b.Input(left, shape()...)
	case "labels":
		s.nodes[left] = s.b.Labels(left, shape()[0])
	case "grad":
		var xs []Node
		for _, name := range w[2:] {
			xs = append(xs, s.node(name))
		}
		for i, g := range s.b.Gradients(s.node(w[1]), xs...) {
			s.nodes[strings.Fields(left)[i]] = g
		}
	case "assign":
		s.b.Assign(s.vars[w[1]], s.node(w[2]))
	case "output":
		s.b.Output(w[1], s.node(w[2]))
	default:
		return s.call(left, w[0], w[1:])
	}
	return nil
}

// node returns the value of a name; variables are read when they are used first.
func (s *script) node(name string) Node {
	if v := s.vars[name]; v != nil {
		return s.b.Read(v)
	}
	return s.nodes[name]
}

// call calls a method of the builder that returns a node.
func (s *script) call(name, method string, args []string) error {
	m := reflect.ValueOf(s.b).MethodByName(method)
	if !m.IsValid() {
		return fmt.Errorf("no such method: %s", method)
	}
	var in []reflect.Value
	for i, a := range args {
		if n := s.node(a); n.Valid() {
			in = append(in, reflect.ValueOf(n))
			continue
		}
		x, err := strconv.ParseFloat(a, 64)
		if err != nil {
			return fmt.Errorf("no value is called %s", a)
		}
		t := m.Type().In(min(i, m.Type().NumIn()-1))
		if t.Kind() == reflect.Slice { // variadic
			t = t.Elem()
		}
		in = append(in, reflect.ValueOf(x).Convert(t))
	}
	s.nodes[name] = m.Call(in)[0].Interface().(Node)
	return nil
}
