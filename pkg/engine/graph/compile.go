package graph

import (
	"fmt"
	"slices"

	"neoteny/pkg/engine/kernel"
)

// Compile turns what was traced into a program, by the passes in their order. No pass
// changes what is computed: a value has the same bits however it is scheduled.
func (b *Builder) Compile() *Program {
	c := &compiler{b: b, p: &Program{inputs: map[string][]float32{}, labels: map[string][]int32{}, outputs: map[string][]float32{}}}
	for _, p := range passes {
		p.run(c)
	}
	if b.listed {
		c.p.listing = c.list()
	}
	return c.p
}

// pass is one step of a compilation.
type pass struct {
	name string
	run  func(*compiler)
	// after are the passes whose results it reads.
	after []string
	// does says what there is when it is done, for people who read listings.
	does string
}

// passes are all of them, in the order in which they run.
var passes = []pass{
	{
		name: "own sources", run: (*compiler).ownSources,
		does: "outputs and assignments that name a variable or an input have a copy of it",
	},
	{
		name: "find needed", run: (*compiler).findNeeded, after: []string{"own sources"},
		does: "what outputs and assignments depend on, and who reads each value",
	},
	{
		name: "form runs", run: (*compiler).formRuns, after: []string{"find needed"},
		does: "element-wise operations that pass over memory together",
	},
	{
		name: "schedule", run: (*compiler).schedule, after: []string{"form runs"},
		does: "runs and single operations in an order in which every variable is read before it is overwritten; " +
			"runs have what they compute or read stretch by stretch: the gradient of a weight matrix beside its update, " +
			"and the product that reads the old weights",
	},
	{
		name: "plan", run: (*compiler).plan, after: []string{"schedule"},
		does: "a place in one arena for every value that outlives its run",
	},
	{
		name: "emit", run: (*compiler).emit, after: []string{"plan"},
		does: "instructions",
	},
}

func init() { checkPasses(passes) }

// checkPasses panics where a pass runs before one whose results it reads.
func checkPasses(passes []pass) {
	done := map[string]bool{}
	for _, p := range passes {
		for _, other := range p.after {
			if !done[other] {
				panic(fmt.Sprintf("graph: pass %q must run after %q", p.name, other))
			}
		}
		if done[p.name] {
			panic(fmt.Sprintf("graph: two passes are called %q", p.name))
		}
		done[p.name] = true
	}
}

// compiler holds what one compilation knows. Slices are by node unless they
// say otherwise; "root" is the node that has a value of its own where others
// are only another name for it.
type compiler struct {
	b       *Builder
	needed  []bool
	users   [][]int // by root: computed nodes that read it, in order
	escapes []bool  // by root: read after the program, or by a late assignment
	run     []*item // of element-wise nodes
	items   []*item // the schedule
	itemOf  []*item // by root: who computes it
	late    []assign
	values  [][]float32
	labels  [][]int32
	p       *Program

	offsets   map[int]int // of the values in the arena
	arenaSize int         // elements
}

// item is one entry of the schedule: a single operation, or a run of
// element-wise operations over the same number of elements.
type item struct {
	nodes   []int // in order
	n       int   // elements of a run; 0 for a single operation
	assigns []assign

	// What the run does stretch by stretch, rows of the weight matrix at a
	// time, besides its element-wise operations.
	made   []int // operations whose value only this run reads
	reader int   // a product with the old weights, or -1
	width  int   // of a row; 0 where stretches may be of any length

	pos int // in the schedule
}

// ownSources gives outputs and assignments that name a variable's or input's
// value directly a node of their own, so that neither sees a later change.
func (c *compiler) ownSources() {
	own := func(id int) int {
		if _, ok := c.b.nodes[c.root(id)].op.(source); ok {
			return c.b.add(unaryOp{kernel.Copy}, c.b.nodes[id].shape, Node{c.b, id}).id
		}
		return id
	}
	for i := range c.b.outputs {
		c.b.outputs[i].id = own(c.b.outputs[i].id)
	}
	for i := range c.b.assigns {
		c.b.assigns[i].id = own(c.b.assigns[i].id)
	}
}

// root follows nodes that are only another name for their operand's value.
func (c *compiler) root(id int) int {
	for {
		if _, ok := c.b.nodes[id].op.(alias); !ok {
			return id
		}
		id = c.b.nodes[id].in[0]
	}
}

// operands returns the roots of what a node reads. Element-wise operations see
// through a single number that is spread over a shape.
func (c *compiler) operands(id int) []int {
	nd := c.b.nodes[id]
	in := make([]int, len(nd.in))
	for i, j := range nd.in {
		in[i] = c.root(j)
		if !isElementwise(nd.op) {
			continue
		}
		if _, ok := c.b.nodes[in[i]].op.(spreading); ok {
			if src := c.root(c.b.nodes[in[i]].in[0]); c.elems(src) == 1 {
				in[i] = src
			}
		}
	}
	return in
}

func (c *compiler) elems(id int) int { return c.b.nodes[id].shape.Elems() }

// findNeeded marks the roots that outputs and assignments depend on, and who
// reads each.
func (c *compiler) findNeeded() {
	n := len(c.b.nodes)
	c.needed, c.users, c.escapes = make([]bool, n), make([][]int, n), make([]bool, n)
	for _, o := range c.b.outputs {
		c.needed[c.root(o.id)] = true
		c.escapes[c.root(o.id)] = true
	}
	for _, a := range c.b.assigns {
		c.needed[c.root(a.id)] = true
	}
	for _, id := range c.b.inputs {
		c.needed[id] = true // callers fill declared inputs, used or not
	}
	for id := n - 1; id >= 0; id-- {
		if !c.needed[id] {
			continue
		}
		for _, r := range c.operands(id) {
			c.needed[r] = true
			if !slices.Contains(c.users[r], id) {
				c.users[r] = append(c.users[r], id)
			}
		}
	}
	for _, u := range c.users {
		slices.Sort(u)
	}
}

// computed reports whether a root needs an instruction.
func (c *compiler) computed(id int) bool {
	_, source := c.b.nodes[id].op.(source)
	return !source && c.needed[id]
}

func isElementwise(o op) bool {
	_, ok := o.(elementwise)
	return ok
}

// primitive returns the kernel's function of an element-wise node, false for others.
func (c *compiler) primitive(id int) (kernel.Op, bool) {
	if o, ok := c.b.nodes[id].op.(elementwise); ok {
		return o.primitive(), true
	}
	return 0, false
}
