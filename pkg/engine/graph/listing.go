package graph

import (
	"fmt"
	"io"
	"strings"

	"neoteny/pkg/engine/tensor"
)

// Listing is a compiled program for people to read: what it executes in which order,
// where values are, and how much work it is. It is the same on every machine.
type Listing struct {
	Instructions []ListedInstruction `json:"instructions"`
	MultiplyAdds int64               `json:"multiply_adds"` // of matrix products, in one run
	Elements     int64               `json:"elements"`      // that element-wise operations compute in one run
	ArenaBytes   int64               `json:"arena_bytes"`   // of the values between instructions
	InputBytes   int64               `json:"input_bytes"`   // of inputs and constants
	ReadBytes    int64               `json:"read_bytes"`    // of the variables that it reads
}

// ListedInstruction is one instruction.
type ListedInstruction struct {
	// Kind is op for a single operation, run for element-wise operations that pass over
	// memory together, stretched for a run that makes some of its operands itself, a
	// stretch at a time, descent for the pass that is backward, gradient and update of
	// plain SGD at batch 1, and copy for an assignment at the end.
	Kind     string     `json:"kind"`
	Elements int        `json:"elements,omitempty"` // of a run
	Stretch  int        `json:"stretch,omitempty"`  // elements that a stretched run works on at a time
	Ops      []ListedOp `json:"ops"`
}

// ListedOp is an operation of an instruction.
type ListedOp struct {
	Value string   `json:"value"` // its name in this listing: %1, %2, …
	Op    string   `json:"op"`
	Shape []int    `json:"shape"`
	From  []string `json:"from"` // values, "variable", inputs and constants
	// To is where the value goes: "arena+N" (a byte offset), the name of a variable,
	// "stretch" for what is made a stretch at a time, and "" for what is read within its
	// instruction only.
	To           string   `json:"to,omitempty"`
	Assigns      []string `json:"assigns,omitempty"` // variables that become it
	Output       []string `json:"output,omitempty"`  // names under which it is an output
	MultiplyAdds int64    `json:"multiply_adds,omitempty"`
}

// multiplyAdds returns those of a node.
func (b *Builder) multiplyAdds(n node) int64 {
	o, ok := n.op.(working)
	if !ok {
		return 0
	}
	var in []tensor.Shape
	for _, i := range n.in {
		in = append(in, b.nodes[i].shape)
	}
	return o.multiplyAdds(n.shape, in)
}

// lister makes the listing of a compilation that is done.
type lister struct {
	c     *compiler
	names map[int]string // of roots that have been listed
	l     *Listing
}

func (c *compiler) list() *Listing {
	t := &lister{c: c, names: map[int]string{}, l: &Listing{ArenaBytes: 4 * int64(c.arenaSize)}}
	for id, n := range c.b.nodes {
		_, isSource := n.op.(source)
		switch {
		case !isSource || !c.needed[id]:
		case n.reads() != nil:
			t.l.ReadBytes += 4 * int64(len(c.values[id]))
		default:
			t.l.InputBytes += 4 * int64(len(c.values[id])+len(c.labels[id]))
		}
	}
	for i, it := range c.items {
		t.l.Instructions = append(t.l.Instructions, t.instruction(it, c.p.code[i]))
	}
	for _, a := range c.late {
		r := c.root(a.id)
		t.l.Instructions = append(t.l.Instructions, ListedInstruction{Kind: "copy", Ops: []ListedOp{{
			Value: t.name(r), Op: "copy", Shape: c.b.nodes[r].shape, From: []string{t.name(r)}, Assigns: []string{a.v.Name},
		}}})
	}
	for _, i := range t.l.Instructions {
		for _, o := range i.Ops {
			t.l.MultiplyAdds += o.MultiplyAdds
		}
		if i.Kind == "run" || i.Kind == "stretched" {
			t.l.Elements += int64(i.Elements) * int64(len(i.Ops)-t.made(i))
		}
	}
	return t.l
}

// made returns how many operations of an instruction are not element-wise.
func (t *lister) made(i ListedInstruction) int {
	n := 0
	for _, o := range i.Ops {
		if o.To == "stretch" || o.MultiplyAdds > 0 {
			n++
		}
	}
	return n
}

// name returns what a value is called.
func (t *lister) name(id int) string {
	n := t.c.b.nodes[id]
	if v := n.reads(); v != nil {
		return fmt.Sprintf("%q", v.Name)
	}
	if o, ok := n.op.(constant); ok {
		return fmt.Sprint(o.constant())
	}
	if _, ok := n.op.(source); ok {
		return n.op.name()
	}
	if t.names[id] == "" {
		t.names[id] = fmt.Sprintf("%%%d", len(t.names)+1)
	}
	return t.names[id]
}

func (t *lister) instruction(it *item, code instruction) ListedInstruction {
	l := ListedInstruction{Kind: "op", Elements: it.n}
	switch i := code.(type) {
	case *descent:
		l.Kind = "descent"
	case *stretched:
		l.Kind, l.Stretch = "stretched", i.size
	case *run:
		l.Kind = "run"
	}
	for _, id := range it.made {
		o := t.op(id)
		o.To = "stretch"
		l.Ops = append(l.Ops, o)
	}
	if it.reader >= 0 {
		l.Ops = append(l.Ops, t.op(it.reader))
	}
	for _, id := range it.nodes {
		o := t.op(id)
		for _, a := range it.assigns {
			if t.c.root(a.id) == id {
				o.Assigns = append(o.Assigns, a.v.Name)
			}
		}
		l.Ops = append(l.Ops, o)
	}
	return l
}

// op lists a node.
func (t *lister) op(id int) ListedOp {
	c, n := t.c, t.c.b.nodes[id]
	o := ListedOp{Op: n.op.name(), Shape: n.shape, MultiplyAdds: c.b.multiplyAdds(n)}
	for _, in := range c.operands(id) {
		o.From = append(o.From, t.name(in))
	}
	o.Value = t.name(id)
	if at, ok := c.offsets[id]; ok {
		o.To = fmt.Sprintf("arena+%d", 4*at)
	} else if v := c.values[id]; v != nil {
		for _, a := range c.b.assigns { // written straight into a variable
			if c.root(a.id) == id && len(v) > 0 && &v[0] == &a.v.F32[0] {
				o.To = fmt.Sprintf("%q", a.v.Name)
			}
		}
	}
	for _, out := range c.b.outputs {
		if c.root(out.id) == id {
			o.Output = append(o.Output, out.name)
		}
	}
	return o
}

// Write prints the listing as text.
func (l *Listing) Write(w io.Writer) error {
	var b strings.Builder
	for i, in := range l.Instructions {
		fmt.Fprintf(&b, "%3d  %s", i+1, in.Kind)
		if in.Elements > 0 {
			fmt.Fprintf(&b, " of %d", in.Elements)
		}
		if in.Stretch > 0 {
			fmt.Fprintf(&b, ", %d at a time", in.Stretch)
		}
		b.WriteByte('\n')
		for _, o := range in.Ops {
			fmt.Fprintf(&b, "     %s = %s(%s) %s", o.Value, o.Op, strings.Join(o.From, ", "), tensor.Shape(o.Shape))
			if o.MultiplyAdds > 0 {
				fmt.Fprintf(&b, ", %d multiply-adds", o.MultiplyAdds)
			}
			if o.To != "" {
				fmt.Fprintf(&b, " → %s", o.To)
			}
			for _, v := range o.Assigns {
				fmt.Fprintf(&b, " ⇒ %q", v)
			}
			for _, name := range o.Output {
				fmt.Fprintf(&b, " [output %s]", name)
			}
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, "%d instructions, %d multiply-adds, %d elements, arena %d bytes, inputs and constants %d bytes, variables read %d bytes\n",
		len(l.Instructions), l.MultiplyAdds, l.Elements, l.ArenaBytes, l.InputBytes, l.ReadBytes)
	_, err := io.WriteString(w, b.String())
	return err
}
