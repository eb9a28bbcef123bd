package analyses

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/safetensors"
)

func init() {
	analysis.Register(analysis.Info{
		Info: component.Info{
			Name:      "forgetting-scores",
			Paper:     "Toneva et al. 2019, An Empirical Study of Example Forgetting during Deep Neural Network Learning",
			Summary:   "how often training examples are forgotten, summed over seeds, and their order by it",
			Formula:   "f_i = Σ_s #{t : example i right at its presentation t, wrong at t+1, seed s}; ∞ where never right",
			Publishes: []string{"ranking"},
		},
		Inputs:  []analysis.Input{{Name: "counts", Doc: "forgetting_counts of the probe example-forgetting", Many: true}},
		Metrics: []string{"never_forgotten", "never_learned", "rank_correlation"},
	}, forgettingScoresConfig{}, nil, forgettingScores)
}

type forgettingScoresConfig struct{}

func (forgettingScoresConfig) Validate() error { return nil }

// forgettingScores sums forgetting events over seeds.
//
// An input is a safetensors file with a number for each of the n training
// examples, F32 or I32: "events", how often it was forgotten, and
// "first_learned", the presentation at which it was right first, below 0 where it
// never was.
//
// Metrics:
//   - never_forgotten: share of examples that every seed learned and none forgot
//     (Toneva et al. call them unforgettable);
//   - never_learned: share that some seed never learned;
//   - rank_correlation: Spearman's correlation of the counts of two seeds, ties
//     by their mean rank, examples never learned above all others; the mean over
//     all pairs of seeds, NaN with one seed.
//
// The artifact "ranking" is a safetensors file: "ranking" I32 [n], the indices of
// examples from the least forgotten to those never learned, equals by index, and
// "events" F32 [n], the sums f_i by example.
func forgettingScores(_ forgettingScoresConfig, env analysis.Env) (*analysis.Result, error) {
	var counts [][]float64
	for _, in := range env.Inputs["counts"] {
		c, err := forgettingCounts(in.File)
		if err != nil {
			return nil, fmt.Errorf("counts of seed %d: %w", in.Seed, err)
		}
		if len(counts) > 0 && len(c) != len(counts[0]) {
			return nil, fmt.Errorf("counts of seed %d: %d examples, those of another %d", in.Seed, len(c), len(counts[0]))
		}
		counts = append(counts, c)
	}
	n := len(counts[0])
	sum, order := make([]float64, n), make([]int, n)
	never, unlearned := 0, 0
	for i := range n {
		order[i] = i
		for _, c := range counts {
			sum[i] += c[i]
		}
		switch {
		case sum[i] == 0:
			never++
		case math.IsInf(sum[i], 1):
			unlearned++
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sum[a], sum[b]) })

	var correlations []float64
	ranks := make([][]float64, len(counts))
	for i, c := range counts {
		ranks[i] = meanRanks(c)
		for j := range i {
			correlations = append(correlations, pearson(ranks[j], ranks[i]))
		}
	}
	var file bytes.Buffer
	if err := safetensors.Encode(&file, &safetensors.File{Tensors: []safetensors.Tensor{ints32("ranking", order), floats32("events", sum)}}); err != nil {
		return nil, err
	}
	return &analysis.Result{
		Metrics: map[string]float64{
			"never_forgotten":  float64(never) / float64(n),
			"never_learned":    float64(unlearned) / float64(n),
			"rank_correlation": mean(correlations),
		},
		Artifacts: map[string][]byte{"ranking": file.Bytes()},
	}, nil
}

// forgettingCounts reads one seed's counts, ∞ where an example was never learned.
func forgettingCounts(file []byte) ([]float64, error) {
	all, err := tensors(file)
	if err != nil {
		return nil, err
	}
	events, err := numbers(all, "events")
	if err != nil {
		return nil, err
	}
	learned, err := numbers(all, "first_learned")
	switch {
	case err != nil:
		return nil, err
	case len(learned) != len(events) || len(events) == 0:
		return nil, fmt.Errorf("%d events and %d times of learning", len(events), len(learned))
	}
	for i, v := range events {
		if !(v >= 0) {
			return nil, fmt.Errorf("example %d: %v events", i, v)
		}
		if learned[i] < 0 {
			events[i] = math.Inf(1)
		}
	}
	return events, nil
}

// meanRanks returns the rank of every value, from 1; equals have the mean of
// their ranks.
func meanRanks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(values[a], values[b]) })
	ranks := make([]float64, len(values))
	for first := 0; first < len(order); {
		last := first
		for last+1 < len(order) && values[order[last+1]] == values[order[first]] {
			last++
		}
		for _, i := range order[first : last+1] {
			ranks[i] = float64(float64(first+last)/2) + 1
		}
		first = last + 1
	}
	return ranks
}

// pearson is the correlation of two lists, NaN where one of them is constant.
func pearson(a, b []float64) float64 {
	ma, mb := mean(a), mean(b)
	var ab, aa, bb float64
	for i := range a {
		x, y := a[i]-ma, b[i]-mb
		ab += float64(x * y)
		aa += float64(x * x)
		bb += float64(y * y)
	}
	return ab / math.Sqrt(float64(aa*bb))
}

// mean is NaN of nothing.
func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
