package graph

import "slices"

// formRuns puts element-wise operations over the same number of elements into
// one run where one reads what the other makes, or both read the same array.
// Two runs are joined only if nothing between them has to happen in between.
func (c *compiler) formRuns() {
	c.run = make([]*item, len(c.b.nodes))
	var order []int
	for id, nd := range c.b.nodes {
		if c.computed(id) && isElementwise(nd.op) {
			c.run[id] = &item{nodes: []int{id}, n: c.elems(id), reader: -1}
			order = append(order, id)
		}
	}
	for _, id := range order {
		for _, in := range c.operands(id) {
			if c.run[in] != nil {
				c.join(c.run[in], c.run[id])
			}
		}
	}
	for r, users := range c.users {
		var first *item
		for _, u := range users {
			it := c.run[u]
			switch {
			case it == nil || c.elems(r) != it.n || it.n == 1:
			case first == nil || first.n != it.n:
				first = it
			default:
				if c.join(first, it) {
					first = c.run[u]
				}
			}
		}
	}
}

// join makes one run of two, if that leaves an order to execute in.
func (c *compiler) join(a, b *item) bool {
	if a == b || a.n != b.n || c.between(a, b) {
		return a == b
	}
	if len(a.nodes) < len(b.nodes) {
		a, b = b, a
	}
	a.nodes = append(a.nodes, b.nodes...)
	slices.Sort(a.nodes)
	for _, id := range b.nodes {
		c.run[id] = a
	}
	return true
}

// between reports whether something outside of two runs reads what one makes
// and is read, directly or not, by either.
func (c *compiler) between(a, b *item) bool {
	seen := map[any]bool{}
	var reaches func(id int) bool // from an operand outside back to the runs
	visit := func(nodes []int, outside bool) bool {
		for _, id := range nodes {
			for _, in := range c.operands(id) {
				if it := c.run[in]; it == a || it == b {
					if outside {
						return true
					}
					continue
				}
				if reaches(in) {
					return true
				}
			}
		}
		return false
	}
	reaches = func(id int) bool {
		if !c.computed(id) {
			return false
		}
		if it := c.run[id]; it != nil {
			if seen[it] {
				return false
			}
			seen[it] = true
			return visit(it.nodes, true)
		}
		if seen[id] {
			return false
		}
		seen[id] = true
		return visit([]int{id}, true)
	}
	return visit(a.nodes, false) || visit(b.nodes, false)
}
