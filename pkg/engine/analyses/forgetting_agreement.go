package analyses

import (
	"fmt"

	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/component"
)

func init() {
	analysis.Register(analysis.Info{
		Info: component.Info{
			Name:    "forgetting-agreement",
			Paper:   "Toneva et al. 2019, An Empirical Study of Example Forgetting during Deep Neural Network Learning",
			Summary: "whether two networks forget the same training examples",
			Formula: "Pearson's correlation of the ranks of f_i and g_i, the two networks' forgetting events of example i; ties have the mean of their ranks",
		},
		Inputs: []analysis.Input{
			{Name: "first", Doc: "ranking of the analysis forgetting-scores"},
			{Name: "second", Doc: "the same of another architecture on the same examples"},
		},
		Metrics: []string{"rank_correlation"},
	}, forgettingAgreementConfig{}, nil, forgettingAgreement)
}

type forgettingAgreementConfig struct{}

func (forgettingAgreementConfig) Validate() error { return nil }

// forgettingAgreement compares what forgetting-scores made of two arms, whose
// counts are summed over seeds; examples that some seed never learned count as
// the most forgotten. Its metric is Spearman's rank_correlation over all
// examples, NaN where one of the networks forgets all of them equally often.
func forgettingAgreement(_ forgettingAgreementConfig, env analysis.Env) (*analysis.Result, error) {
	var ranks [2][]float64
	for i, name := range []string{"first", "second"} {
		in, err := env.One(name)
		if err != nil {
			return nil, err
		}
		all, err := tensors(in.File)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		events, err := numbers(all, "events")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		ranks[i] = meanRanks(events)
	}
	if len(ranks[0]) != len(ranks[1]) {
		return nil, fmt.Errorf("the first has %d examples, the second %d", len(ranks[0]), len(ranks[1]))
	}
	return &analysis.Result{Metrics: map[string]float64{"rank_correlation": pearson(ranks[0], ranks[1])}}, nil
}
