package accuracy

import (
	"bytes"
	"encoding/binary"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/safetensors"
)

// ForgettingCounts is the artifact of the probe example-forgetting: safetensors
// with events and first_learned, both I32 [examples].
const ForgettingCounts = "forgetting_counts"

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:      "example-forgetting",
			Paper:     "Toneva et al. 2019, An Empirical Study of Example Forgetting during Deep Neural Network Learning",
			Summary:   "how often examples that the network had right were wrong when they came again",
			Needs:     []component.Capability{component.Classification},
			Publishes: []string{ForgettingCounts},
		},
		Metrics: []probe.Metric{
			{
				Metric: "never_forgotten", Title: "Examples never forgotten",
				Unit: "share of examples", Range: probe.Share, Better: probe.Higher,
			},
			{
				Metric: "never_learned", Title: "Examples never learned",
				Unit: "share of examples", Range: probe.Share, Better: probe.Lower,
			},
			{
				Metric: "mean_forgetting_events", Title: "Forgetting events",
				Unit: "per example", Range: probe.Positive, Better: probe.Lower,
			},
		},
		Every:     "task",
		At:        "end",
		Reduce:    "last",
		Remembers: true,
	}, exampleForgettingConfig{}, nil, newExampleForgetting)
}

type exampleForgettingConfig struct{}

func (exampleForgettingConfig) Validate() error { return nil }

// exampleForgetting follows every example of a stream that shows the same ones
// again and again. Each time an example is in a mini-batch the network has it
// right or wrong, before it learns from it. A forgetting event is right the last
// time and wrong now (definition of section 3). After each step
//
//	never_forgotten         share of examples that were right once, and never wrong after that ("unforgettable")
//	never_learned           share of those that were never right
//	mean_forgetting_events  events per example that was right once
//
// Shares are of the examples seen so far; means over none are NaN.
//
// It publishes forgetting_counts: of each example events, and first_learned, how
// many times it had been shown before it was right for the first time, −1 if it
// never was, seen or not. Examples are numbered as the stream numbers them (stream.Batch.Index).
type exampleForgetting struct {
	events, firstLearned []int32
	shown                []int32
	right                []uint8 // the last time
	// How many examples have been seen, were right once, and have always been
	// right after that; and all events.
	seen, learned, kept, forgotten []float64
}

func newExampleForgetting(_ exampleForgettingConfig, env probe.Env) (probe.Probe, error) {
	n := env.Info.Examples
	if n == 0 {
		return nil, component.Fieldf("kind", "example-forgetting needs a stream that shows the same examples again and again and numbers them")
	}
	ints := func(name string) []int32 { return env.State(name, graph.I32, n).I32 }
	total := func(name string) []float64 { return env.State(name, graph.F64, 1).F64 }
	p := &exampleForgetting{
		events: ints("events"), firstLearned: ints("first_learned"), shown: ints("shown"), right: env.State("right", graph.U8, n).U8,
		seen: total("seen"), learned: total("learned"), kept: total("kept"), forgotten: total("forgotten"),
	}
	for i := range p.firstLearned {
		p.firstLearned[i] = -1
	}
	return p, nil
}

// Columns implements [probe.Probe].
func (p *exampleForgetting) Columns() []probe.Column {
	return []probe.Column{{Metric: "never_forgotten"}, {Metric: "never_learned"}, {Metric: "mean_forgetting_events"}}
}

// Step implements [probe.Stepper].
func (p *exampleForgetting) Step(s *learner.Step, values []float32) {
	for i, example := range s.Batch.Index {
		if example < 0 {
			continue
		}
		switch right := s.Correct[i] == 1; {
		case right && p.firstLearned[example] < 0:
			p.firstLearned[example] = p.shown[example]
			p.learned[0]++
			p.kept[0]++
			p.right[example] = 1
		case right:
			p.right[example] = 1
		case p.right[example] == 1:
			if p.events[example] == 0 {
				p.kept[0]--
			}
			p.events[example]++
			p.forgotten[0]++
			p.right[example] = 0
		}
		if p.shown[example] == 0 {
			p.seen[0]++
		}
		p.shown[example]++
	}
	values[0] = float32(p.kept[0] / p.seen[0])
	values[1] = float32((p.seen[0] - p.learned[0]) / p.seen[0])
	values[2] = float32(p.forgotten[0] / p.learned[0])
}

// Publish implements [component.Publisher].
func (p *exampleForgetting) Publish(string) ([]byte, error) {
	f := &safetensors.File{Metadata: map[string]string{"format": "neoteny-forgetting-counts/1"}}
	for _, t := range []struct {
		name   string
		values []int32
	}{{"events", p.events}, {"first_learned", p.firstLearned}} {
		data := make([]byte, 0, 4*len(t.values))
		for _, v := range t.values {
			data = binary.LittleEndian.AppendUint32(data, uint32(v))
		}
		f.Tensors = append(f.Tensors, safetensors.Tensor{Name: t.name, DType: "I32", Shape: []int{len(t.values)}, Data: data})
	}
	var buf bytes.Buffer
	if err := safetensors.Encode(&buf, f); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
