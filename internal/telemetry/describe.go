package telemetry

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric is what a process shows, by the description of its collector.
type Metric struct {
	Name   string
	Labels []string // names of the labels that its series differ in
}

// description is how a prometheus.Desc writes itself; it has no other way out.
var description = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", .*, constLabels: \{.*\}, variableLabels: \{(.*)\}\}$`)

// Describe lists the metrics of collectors by name, those of services, which are
// collectors themselves, among them.
func Describe(cs ...prometheus.Collector) ([]Metric, error) {
	var out []Metric
	for _, c := range cs {
		ch := make(chan *prometheus.Desc)
		go func() {
			defer close(ch)
			c.Describe(ch)
		}()
		var bad string
		for d := range ch {
			m := description.FindStringSubmatch(d.String())
			if m == nil {
				bad = d.String()
				continue
			}
			metric := Metric{Name: m[1]}
			if m[2] != "" {
				metric.Labels = strings.Split(m[2], ",")
			}
			out = append(out, metric)
		}
		if bad != "" {
			return nil, fmt.Errorf("describe metrics: cannot read %s", bad)
		}
	}
	slices.SortFunc(out, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Own lists the metrics that this package's structs have, of coordinators and
// workers.
func Own() ([]Metric, error) {
	t := New()
	if _, err := NewCoordinator(t.registry, func() CoordinatorStats { return CoordinatorStats{} }); err != nil {
		return nil, err
	}
	NewWorker(t)
	if _, err := RegisterMetricsClient(t.registry, func() MetricsClientStats { return MetricsClientStats{} }); err != nil {
		return nil, err
	}
	return Describe(t.registry)
}
