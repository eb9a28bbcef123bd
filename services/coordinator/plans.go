package coordinator

import (
	"sync"

	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/model"
)

// plans keeps the plans of submissions until they are expanded, which spares
// expanding them twice.
type plans struct {
	mirror *mirror.Mirror
	mu     sync.Mutex // taken before the mirror's
	kept   map[string]*model.Plan
}

func newPlans(m *mirror.Mirror) *plans {
	return &plans{mirror: m, kept: map[string]*model.Plan{}}
}

// keep remembers the plan of a submission, unless the mirror shows that it has
// been expanded meanwhile.
func (p *plans) keep(id string, plan *model.Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mirror.Read(func(st *mirror.State) {
		if e := st.Experiments[id]; e == nil || e.Unplanned() {
			p.kept[id] = plan
		}
	})
}

// drop forgets the plan of an experiment that has changed, if it is of no use
// any more.
func (p *plans) drop(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mirror.Read(func(st *mirror.State) {
		if e := st.Experiments[id]; e == nil || !e.Unplanned() {
			delete(p.kept, id)
		}
	})
}

// get returns a plan that is kept, or nil.
func (p *plans) get(id string) *model.Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kept[id]
}
