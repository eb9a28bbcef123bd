package graph

import "neoteny/pkg/engine/kernel"

// Program is a compiled program. It runs on one goroutine at a time and
// allocates nothing after compilation.
type Program struct {
	code    []instruction
	inputs  map[string][]float32
	labels  map[string][]int32
	outputs map[string][]float32
	listing *Listing // nil unless its builder was asked for one
}

// Listing returns the program for people to read; nil unless it was compiled from a
// store or builder that lists (see [Store.List]).
func (p *Program) Listing() *Listing { return p.listing }

// instruction is one step of a program.
type instruction interface {
	exec(step uint64)
}

// Run executes the program once. Random operations are functions of step.
func (p *Program) Run(step uint64) {
	for _, i := range p.code {
		i.exec(step)
	}
}

// Input returns the storage of a float32 input, to be filled before a run; nil
// if there is none of that name.
func (p *Program) Input(name string) []float32 { return p.inputs[name] }

// Labels returns the storage of a label input, to be filled before a run; nil
// if there is none of that name.
func (p *Program) Labels(name string) []int32 { return p.labels[name] }

// Output returns the storage of an output, valid after a run until the next;
// nil if there is none of that name.
func (p *Program) Output(name string) []float32 { return p.outputs[name] }

// Interpreted returns how many element-wise passes over at least n elements have
// no assembly of their own, but read and write memory operation by operation.
func (p *Program) Interpreted(n int) int {
	count := 0
	for _, i := range p.code {
		switch i := i.(type) {
		case *run:
			if i.n >= n && len(i.spec.Code) > 1 && !i.m.Fused() {
				count++
			}
		case *stretched:
			if i.n >= n && len(i.spec.Code) > 1 && !i.m.Fused() {
				count++
			}
		}
	}
	return count
}

// single is the instruction of a single operation.
type single func(step uint64)

func (f single) exec(step uint64) { f(step) }

// run is the instruction of a run of element-wise operations.
type run struct {
	spec    kernel.MapSpec
	m       *kernel.Map
	n       int
	arrays  [][]float32
	singles [][]float32
	scalars []float32 // what singles hold at the moment
	outs    [][]float32
}

func (r *run) exec(uint64) {
	r.load()
	r.m.Run(r.n, r.arrays, r.scalars, r.outs)
}

func (r *run) load() {
	for i, s := range r.singles {
		r.scalars[i] = s[0]
	}
}

// stretched is a run that computes some of its operands itself, a stretch at a
// time: the gradient of a weight matrix is consumed while it is in the cache,
// and never exists as a whole.
type stretched struct {
	*run
	size   int // elements of a stretch, whole rows
	width  int
	made   []making
	read   func(lo, hi int) // reads rows [lo, hi) before they are updated; may be nil
	window [][]float32
	outs   [][]float32
}

type making struct {
	make  func(step uint64, dst []float32, lo, hi int)
	buf   []float32
	array int
}

// join returns nil: the lanes go one by one.
func (s *stretched) join([]instruction) instruction { return nil }

func (s *stretched) exec(step uint64) {
	s.load()
	for lo := 0; lo < s.n; lo += s.size {
		hi := min(lo+s.size, s.n)
		for i, a := range s.arrays {
			if a != nil {
				s.window[i] = a[lo:hi]
			}
		}
		for i := range s.made {
			m := &s.made[i]
			m.make(step, m.buf[:hi-lo], lo, hi)
			s.window[m.array] = m.buf[:hi-lo]
		}
		if s.read != nil {
			s.read(lo/s.width, hi/s.width)
		}
		for i, o := range s.run.outs {
			s.outs[i] = o[lo:hi]
		}
		s.m.Run(hi-lo, s.window, s.scalars, s.outs)
	}
}
