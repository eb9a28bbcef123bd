package graph

import "slices"

// schedule finds the order of runs and single operations. It first tries with
// everything that a run can take along: gradients made beside the update that
// consumes them, products that read the old weights row by row just before,
// and assignments made in place. Where that leaves no order (a weight that is
// read again after its update, say), those of the items in question are taken
// apart again.
func (c *compiler) schedule() {
	plain := map[int]bool{}   // products that are not to be taken along
	copied := map[*Var]bool{} // variables to be assigned at the end
	for {
		before := len(copied)
		items := c.gather(plain, copied)
		stuck := c.order(items)
		if stuck == nil {
			return
		}
		apart := false
		for _, it := range stuck {
			if it.reader >= 0 {
				plain[it.reader] = true
				apart = true
			}
		}
		for _, it := range stuck {
			if apart {
				break
			}
			for _, a := range it.assigns {
				copied[a.v] = true
			}
		}
		if !apart && len(copied) == before {
			panic(errorf("no order to execute in"))
		}
	}
}

// gather makes the items.
func (c *compiler) gather(plain map[int]bool, copied map[*Var]bool) []*item {
	var items []*item
	taken := make([]bool, len(c.b.nodes))
	for id := range c.b.nodes {
		it := c.run[id]
		if it == nil || it.nodes[0] != id {
			continue
		}
		it.made, it.reader, it.width, it.assigns = nil, -1, 0, nil
		c.takeAlong(it, taken, plain)
		items = append(items, it)
	}
	for id, nd := range c.b.nodes {
		if c.computed(id) && !isElementwise(nd.op) && !taken[id] {
			items = append(items, &item{nodes: []int{id}, reader: -1})
		}
	}
	c.late = c.late[:0]
	for _, a := range c.b.assigns {
		r := c.root(a.id)
		if c.run[r] == nil || copied[a.v] {
			c.late = append(c.late, a)
		} else {
			c.run[r].assigns = append(c.run[r].assigns, a)
		}
	}
	return items
}

// takeAlong gives a run the operations whose value nothing else reads and that
// can be computed stretch by stretch, and, beside the gradient of a weight
// matrix that the run updates, the product that carries the error back through
// the old weights.
func (c *compiler) takeAlong(it *item, taken []bool, plain map[int]bool) {
	if it.n == 1 {
		return
	}
	for _, id := range it.nodes {
		for _, in := range c.operands(id) {
			if taken[in] || c.escapes[in] || c.assigned(in) || !c.computed(in) {
				continue
			}
			r, ok := c.b.nodes[in].op.(ranger)
			if !ok || !r.stretches() || c.elems(in) != it.n || !c.onlyIn(in, it) {
				continue
			}
			width := r.width(c.b.nodes[in].shape)
			if width > 0 && it.width > 0 && width != it.width {
				continue
			}
			it.width = max(it.width, width)
			it.made = append(it.made, in)
			taken[in] = true
		}
	}
	for _, g := range it.made {
		if _, ok := c.b.nodes[g].op.(weightGradient); !ok {
			continue
		}
		dy := c.operands(g)[1]
		for _, u := range c.users[dy] {
			p, ok := c.b.nodes[u].op.(carrying)
			if !ok || !p.carries() || taken[u] || plain[u] || !c.needed[u] {
				continue
			}
			in := c.operands(u)
			v := c.b.nodes[in[1]].reads()
			if v == nil || in[0] != dy || c.elems(in[1]) != it.n || !c.updates(it, v) || c.feeds(u, it) {
				continue
			}
			it.reader = u
			taken[u] = true
			return
		}
	}
}

// feeds reports whether an item reads a value itself.
func (c *compiler) feeds(id int, it *item) bool {
	return slices.ContainsFunc(c.users[id], func(u int) bool { return c.run[u] == it || slices.Contains(it.made, u) })
}

// onlyIn reports whether every reader of a value is in a run.
func (c *compiler) onlyIn(id int, it *item) bool {
	for _, u := range c.users[id] {
		if c.run[u] != it {
			return false
		}
	}
	return true
}

func (c *compiler) assigned(id int) bool {
	return slices.ContainsFunc(c.b.assigns, func(a assign) bool { return c.root(a.id) == id })
}

// updates reports whether a run makes the new value of a variable.
func (c *compiler) updates(it *item, v *Var) bool {
	return slices.ContainsFunc(c.b.assigns, func(a assign) bool { return a.v == v && c.run[c.root(a.id)] == it })
}

// order sorts items so that each comes after what it reads, and a variable is
// overwritten only after its last reader. Of those that are ready the one that
// was traced first is next. It returns the items that are left when none is
// ready.
func (c *compiler) order(items []*item) (stuck []*item) {
	at := make([]*item, len(c.b.nodes)) // by root, who computes it
	for _, it := range items {
		for _, id := range it.all() {
			at[id] = it
		}
	}
	after := map[*item][]*item{} // who waits for it
	waits := map[*item]int{}
	edge := func(from, to *item) {
		if from != to && from != nil {
			after[from] = append(after[from], to)
			waits[to]++
		}
	}
	for _, it := range items {
		for _, id := range it.all() {
			for _, in := range c.operands(id) {
				edge(at[in], it)
			}
		}
		for _, a := range it.assigns {
			if read, ok := c.b.reads[a.v]; ok {
				for _, u := range c.users[read] {
					edge(at[u], it)
				}
			}
		}
	}
	key := func(it *item) int {
		k := it.nodes[0]
		if len(it.made) > 0 {
			k = slices.Max(it.made)
		}
		if it.reader >= 0 {
			k = it.reader
		}
		return k
	}
	var ready []*item
	for _, it := range items {
		if waits[it] == 0 {
			ready = append(ready, it)
		}
	}
	c.itemOf = at
	c.items = c.items[:0]
	for len(ready) > 0 {
		next := 0
		for i, it := range ready {
			if key(it) < key(ready[next]) {
				next = i
			}
		}
		it := ready[next]
		ready = slices.Delete(ready, next, next+1)
		it.pos = len(c.items)
		c.items = append(c.items, it)
		for _, w := range after[it] {
			if waits[w]--; waits[w] == 0 {
				ready = append(ready, w)
			}
		}
	}
	if len(c.items) == len(items) {
		return nil
	}
	for _, it := range items {
		if waits[it] > 0 {
			stuck = append(stuck, it)
		}
	}
	return stuck
}

// all returns every operation of the item.
func (it *item) all() []int {
	ids := slices.Concat(it.made, it.nodes)
	if it.reader >= 0 {
		ids = append(ids, it.reader)
	}
	return ids
}
