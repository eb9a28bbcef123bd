package units

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "free-units",
			Paper:   "Golkar, Kagan & Cho 2019, Continual Learning via Neural Pruning",
			Summary: "units that no task has been given yet, and how much the last task reuses those of earlier ones",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{Metric: "free_units", Title: "Free units", Unit: "share of units", Range: probe.Share},
			{Metric: "reused_units", Title: "Reused units", Unit: "share of active units", Range: probe.Share},
		},
		Every: "task",
		At:    "start",
	}, freeUnitsConfig{}, nil, newFreeUnits)
}

type freeUnitsConfig struct{}

func (freeUnitsConfig) Validate() error { return nil }

// freeUnits emits, over the hidden units of the network and over those of each
// layer,
//
//	free_units     the fraction that is allocated to no task
//	reused_units   of the units that are active in the last task, the fraction
//	               that had been allocated to a task before
//
// at the start of a task, when the method that allocates units (clnp) has dealt
// with the task before. Without such a method all units are free and none reused.
type freeUnits struct {
	columns []probe.Column
	layers  []allocation
}

// allocation is what a method says of a layer's units.
type allocation struct {
	n         int
	allocated []int32 // 1 + task; nil without a method
	active    []uint8
}

func newFreeUnits(_ freeUnitsConfig, env probe.Env) (probe.Probe, error) {
	p := &freeUnits{columns: []probe.Column{{Metric: "free_units"}, {Metric: "reused_units"}}}
	for _, u := range env.Network.Units() {
		p.columns = append(p.columns, probe.Column{Metric: "free_units", Layer: u.Layer}, probe.Column{Metric: "reused_units", Layer: u.Layer})
		a := allocation{n: u.N}
		if v := ofMethod(env.Space.Store(), "allocated/"+u.Layer); v != nil {
			a.allocated = v.I32
			a.active = ofMethod(env.Space.Store(), "active/"+u.Layer).U8
		}
		p.layers = append(p.layers, a)
	}
	return p, nil
}

// ofMethod finds a method's variable by the name that the method gave it.
func ofMethod(s *graph.Store, name string) *graph.Var {
	for _, v := range s.Of(graph.OfMethod) {
		if v.Local == name {
			return v
		}
	}
	return nil
}

// Columns implements [probe.Probe].
func (p *freeUnits) Columns() []probe.Column { return p.columns }

// MeasureTasks implements [probe.TaskMeasurer].
func (p *freeUnits) MeasureTasks(t probe.Tasks, values []float32) error {
	var all allocationCount
	for i, a := range p.layers {
		count := allocationCount{units: a.n, free: a.n}
		for u, since := range a.allocated { // the last task is number Now()−1
			if since > 0 {
				count.free--
			}
			if a.active[u] == 1 {
				count.active++
				if int(since) < t.Now() {
					count.reused++
				}
			}
		}
		count.write(values[2*(1+i):])
		all = allocationCount{all.units + count.units, all.free + count.free, all.active + count.active, all.reused + count.reused}
	}
	all.write(values)
	return nil
}

type allocationCount struct{ units, free, active, reused int }

func (c allocationCount) write(values []float32) {
	values[0], values[1] = float32(c.free)/float32(c.units), 0
	if c.active > 0 {
		values[1] = float32(c.reused) / float32(c.active)
	}
}
