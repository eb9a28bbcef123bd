package nn

import "neoteny/pkg/engine/graph"

// With calls trace, during which the network's parameters are those of the
// given variables: what is traced there is the same network with other weights.
// vars is parallel to params; shapes must be equal.
func With(params []*Param, vars []*graph.Var, trace func()) {
	own := make([]*graph.Var, len(params))
	for i, p := range params {
		own[i], p.Var = p.Var, vars[i]
	}
	defer func() {
		for i, p := range params {
			p.Var = own[i]
		}
	}()
	trace()
}
