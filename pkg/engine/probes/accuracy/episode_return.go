package accuracy

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "episode-return",
			Summary: "mean return of the latest episodes",
			Needs:   []component.Capability{component.Environment},
		},
		Metrics: []probe.Metric{
			{Metric: "episode_return", Title: "Episode return", Unit: "reward", Better: probe.Higher},
		},
		Every: "step",
	}, episodeReturnConfig{Window: 10}, nil, newEpisodeReturn)
}

type episodeReturnConfig struct {
	Window int `json:"window" doc:"episodes that count; fewer at the start"`
}

func (c episodeReturnConfig) Validate() error {
	if c.Window < 1 || c.Window > 1<<16 {
		return component.Fieldf("window", "must be between 1 and %d, is %d", 1<<16, c.Window)
	}
	return nil
}

// episodeReturn emits the mean over the latest episodes that have ended of the
// sum of their rewards, undiscounted; 0 before the first has ended.
type episodeReturn struct {
	returns []float64 // of the latest episodes, round and round
	counts  []float64 // episodes that have ended; rewards of the one under way
}

func newEpisodeReturn(c episodeReturnConfig, env probe.Env) (probe.Probe, error) {
	return &episodeReturn{env.State("returns", graph.F64, c.Window).F64, env.State("counts", graph.F64, 2).F64}, nil
}

// Columns implements [probe.Probe].
func (p *episodeReturn) Columns() []probe.Column { return []probe.Column{{Metric: "episode_return"}} }

// Step implements [probe.Stepper].
func (p *episodeReturn) Step(s *learner.Step, values []float32) {
	p.counts[1] += float64(s.Reward)
	if s.EpisodeEnd {
		p.returns[int(p.counts[0])%len(p.returns)] = p.counts[1]
		p.counts[0]++
		p.counts[1] = 0
	}
	values[0] = 0
	n := min(int(p.counts[0]), len(p.returns))
	if n == 0 {
		return
	}
	var sum float64
	for _, r := range p.returns[:n] {
		sum += r
	}
	values[0] = float32(sum / float64(n))
}
