package graph

import "neoteny/pkg/engine/kernel"

// Stand-in for kernel.Map.
type mapOp struct {
	Op      kernel.Op
	Arity   int
	A, B, C int
}

type mapSpec struct {
	Arrays, Scalars int
	Code            []mapOp
	Outputs         []int
	Alias           []int
}

const block = 1024

type emap struct {
	spec  mapSpec
	local [][]float32
	vals  [][]float32
	one   [][]float32
}

func newMap(s mapSpec) *emap {
	m := &emap{spec: s}
	for range s.Code {
		m.local = append(m.local, make([]float32, block))
	}
	m.vals = make([][]float32, s.Arrays+s.Scalars+len(s.Code))
	return m
}

func (m *emap) Run(n int, arrays [][]float32, scalars []float32, outs [][]float32) {
	s := &m.spec
	for lo := 0; lo < n; lo += block {
		hi := min(lo+block, n)
		for i := range arrays {
			m.vals[i] = arrays[i][lo:hi]
		}
		for i := range scalars {
			m.vals[s.Arrays+i] = scalars[i : i+1]
		}
		for i := range s.Code {
			o := &s.Code[i]
			y := m.local[i][:hi-lo]
			m.vals[s.Arrays+s.Scalars+i] = y
			switch o.Arity {
			case 1:
				x := m.vals[o.A]
				if len(x) == 1 && len(y) > 1 {
					for j := range y {
						y[j] = x[0]
					}
					x = y
				}
				kernel.Unary(o.Op, y, x)
			case 2:
				a, b := m.vals[o.A], m.vals[o.B]
				if len(a) == 1 && len(b) == 1 && len(y) > 1 {
					for j := range y {
						y[j] = a[0]
					}
					a = y
				}
				kernel.Binary(o.Op, y, a, b)
			case 3:
				kernel.Ternary(o.Op, y, m.vals[o.A], m.vals[o.B], m.vals[o.C])
			}
		}
		for i, o := range s.Outputs {
			copy(outs[i][lo:hi], m.vals[o])
		}
	}
}
