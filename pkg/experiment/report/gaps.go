package report

import (
	"maps"
	"slices"

	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// gapMetrics are what plasticity gaps are taken of.
var gapMetrics = []string{"online_accuracy", "loss"}

// gaps compares every arm with its fresh-network control: its own one, or that of
// the base. Seeds that lack a run of one of them are left out.
func (c collection) gaps(spec *pb.ExperimentSpec, selected map[string]string, boot sampler) (out []Gap) {
	list, err := experiment.Controls(spec)
	if err != nil {
		return nil // of a version that knew others
	}
	controls, own := map[string]bool{}, map[string]string{} // control by arm
	for _, x := range list {
		controls[x.Arm] = true
		if x.Kind == experiment.FreshNetwork {
			own[x.Of] = x.Arm
		}
	}
	for _, arm := range slices.Sorted(maps.Keys(c)) {
		control := own[arm]
		if control == "" {
			control = own[""]
		}
		if control == "" || controls[arm] || isAnalysis(arm) {
			continue
		}
		continued, _ := c.chosen(arm, spec, selected)
		fresh, _ := c.chosen(control, spec, selected)
		if continued == nil || fresh == nil {
			continue
		}
		for _, metric := range gapMetrics {
			if g, ok := gapOf(metric, continued, fresh, boot); ok {
				out = append(out, Gap{arm, control, g})
			}
		}
	}
	return out
}

func gapOf(metric string, continued, fresh *group, boot sampler) (Metric, bool) {
	difference := bySeed{}
	var both []uint32
	for _, s := range continued.seeds() {
		a, b := fresh.done[s][metric], continued.done[s][metric]
		if len(a) == 0 || len(b) == 0 {
			continue
		}
		d := make([]float64, min(len(a), len(b)))
		for t := range d {
			d[t] = a[t] - b[t]
		}
		difference[s] = columns{metric: d}
		both = append(both, s)
	}
	return metricOf(metric, both, difference, len(continued.seeds()), boot), len(both) > 0
}
