package graph

import (
	"reflect"
	"slices"
	"unsafe"

	"neoteny/pkg/engine/kernel"
)

// NewLanes returns the stores of n learners that are built alike and run side
// by side: seeds, points of a grid, members of a population. What each makes
// in its store, and the programs that it compiles with [Store.Builder], lie
// beside those of the others, so that [Join] can do one operation for all at
// once. A learner that makes other variables than the first panics with an
// *[Error].
func NewLanes(n int) []*Store {
	shared := &laneMemory{n: n}
	stores := make([]*Store, n)
	for i := range stores {
		stores[i] = NewStore()
		stores[i].memory = &memory{lane: i, lanes: shared}
	}
	return stores
}

// Joint is one program over several lanes.
type Joint struct{ code []instruction }

// Join makes one program of those that the learners of [NewLanes] compiled,
// one each, in the order of the stores. Running it is running each, with the
// same bits. It returns an error if they are not the same program but for
// numbers.
func Join(programs []*Program) (*Joint, error) {
	j := &Joint{}
	for i, first := range programs[0].code {
		lanes := make([]instruction, len(programs))
		for l, p := range programs {
			if len(p.code) != len(programs[0].code) || reflect.TypeOf(p.code[i]) != reflect.TypeOf(first) {
				return nil, errorf("lane %d has another program than the first", l)
			}
			lanes[l] = p.code[i]
		}
		var joint instruction
		if f, ok := first.(joiner); ok {
			joint = f.join(lanes)
		}
		if joint == nil {
			joint = each(lanes)
		}
		j.code = append(j.code, joint)
	}
	return j, nil
}

// Run executes the program of every lane once.
func (j *Joint) Run(step uint64) {
	for _, i := range j.code {
		i.exec(step)
	}
}

// joiner is an instruction that can be done for all lanes at once; join returns
// nil where these cannot.
type joiner interface {
	join(lanes []instruction) instruction
}

// each does an instruction lane by lane.
type each []instruction

func (e each) exec(step uint64) {
	for _, i := range e {
		i.exec(step)
	}
}

// sideBySide returns what n arrays of one length cover together, nil if they do
// not follow each other in memory.
func sideBySide(n int, array func(lane int) []float32) []float32 {
	first := array(0)
	for l := range n {
		a := array(l)
		if len(a) != len(first) || len(a) == 0 || unsafe.Pointer(&a[0]) != unsafe.Add(unsafe.Pointer(&first[0]), l*len(first)*4) {
			return nil
		}
	}
	return unsafe.Slice(&first[0], n*len(first))
}

// joinedRun is a run over the elements of all lanes, as long as the single
// numbers that it reads are the same in all; else it goes lane by lane.
type joinedRun struct {
	run
	lanes []instruction
	same  [][]float32 // by single number: its values in all lanes
}

func (r *run) join(lanes []instruction) instruction {
	at := func(l int) *run { return lanes[l].(*run) }
	j := &joinedRun{lanes: lanes}
	j.m, j.n, j.scalars = r.m, r.n*len(lanes), r.scalars
	for i := range r.arrays {
		j.arrays = append(j.arrays, sideBySide(len(lanes), func(l int) []float32 { return at(l).arrays[i] }))
	}
	for i := range r.outs {
		j.outs = append(j.outs, sideBySide(len(lanes), func(l int) []float32 { return at(l).outs[i] }))
	}
	for i := range r.singles {
		j.same = append(j.same, sideBySide(len(lanes), func(l int) []float32 { return at(l).singles[i] }))
	}
	for _, a := range slices.Concat(j.arrays, j.outs, j.same) {
		if a == nil {
			return nil
		}
	}
	for l := range lanes {
		if at(l).n != r.n || !reflect.DeepEqual(at(l).spec, r.spec) {
			return nil
		}
	}
	return j
}

// gemv is the forward product of one example.
type gemv struct{ y, x, w []float32 }

func (g *gemv) exec(uint64) { kernel.Gemv(g.y, g.x, g.w) }

func (g *gemv) join(lanes []instruction) instruction {
	at := func(l int) *gemv { return lanes[l].(*gemv) }
	j := &joinedGemv{lanes: len(lanes), n: len(g.x), m: len(g.y)}
	j.y = sideBySide(len(lanes), func(l int) []float32 { return at(l).y })
	j.x = sideBySide(len(lanes), func(l int) []float32 { return at(l).x })
	j.w = sideBySide(len(lanes), func(l int) []float32 { return at(l).w })
	if j.y == nil || j.x == nil || j.w == nil {
		return nil
	}
	return j
}

type joinedGemv struct {
	gemv
	lanes, n, m int
}

func (j *joinedGemv) exec(uint64) { kernel.GemvLanes(j.y, j.x, j.w, j.lanes, j.n, j.m) }

func (d *descent) join(lanes []instruction) instruction {
	at := func(l int) *descent { return lanes[l].(*descent) }
	j := &joinedDescent{lanes: len(lanes), n: len(d.x), m: len(d.dy)}
	j.w = sideBySide(len(lanes), func(l int) []float32 { return at(l).w })
	j.x = sideBySide(len(lanes), func(l int) []float32 { return at(l).x })
	j.dy = sideBySide(len(lanes), func(l int) []float32 { return at(l).dy })
	j.lr = sideBySide(len(lanes), func(l int) []float32 { return at(l).lr })
	if j.w == nil || j.x == nil || j.dy == nil || j.lr == nil {
		return nil
	}
	if j.gated = d.gated; d.dx != nil {
		if j.dx = sideBySide(len(lanes), func(l int) []float32 { return at(l).dx }); j.dx == nil {
			return nil
		}
	}
	for l := range lanes {
		if at(l).gated != d.gated || (at(l).dx == nil) != (d.dx == nil) {
			return nil
		}
	}
	return j
}

type joinedDescent struct {
	descent
	lanes, n, m int
}

func (j *joinedDescent) exec(uint64) {
	kernel.BackwardSGDLanes(j.dx, j.w, j.x, j.dy, j.lr, j.gated, j.lanes, j.n, j.m)
}

func (j *joinedRun) exec(step uint64) {
	for i, values := range j.same {
		first := values[0]
		for _, v := range values {
			if v != first {
				each(j.lanes).exec(step)
				return
			}
		}
		j.scalars[i] = first
	}
	j.m.Run(j.n, j.arrays, j.scalars, j.outs)
}
