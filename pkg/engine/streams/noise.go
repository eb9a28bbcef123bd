package streams

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	stream.Register(component.Info{
		Name:    "noise",
		Paper:   "Zhang, Bengio, Hardt, Recht & Vinyals 2017, Understanding Deep Learning Requires Rethinking Generalization (labels); Bishop 1995, Training with Noise is Equivalent to Tikhonov Regularization (inputs)",
		Summary: "another stream with noise on its inputs, labels or targets",
	}, noiseConfig{
		Of: stream.InnerNamed("permuted"), Tasks: 100, Labels: 0.2, Draw: "showing",
	}, nil, newNoisy)
}

type noiseConfig struct {
	Of      stream.Inner `json:"of" doc:"the stream that gets noise"`
	Tasks   int          `json:"tasks" doc:"number of tasks"`
	Inputs  float64      `json:"inputs" doc:"standard deviation of the normal noise that is added to every input, as the stream scales them"`
	Labels  float64      `json:"labels" doc:"probability of a label to be replaced by another one, drawn among the others of its task's head; without effect where the stream has targets"`
	Targets float64      `json:"targets" doc:"standard deviation of the normal noise that is added to every target; without effect where the stream has labels"`
	Draw    string       `json:"draw" doc:"noise is drawn anew whenever an example is shown, or once per task for each example, which then is always shown alike" enum:"showing|example"`
}

func (c noiseConfig) Validate() error {
	info, err := c.Of.Alone("of", c.Tasks)
	switch {
	case !(c.Inputs >= 0 && c.Inputs <= 1e6):
		err = errors.Join(err, component.Fieldf("inputs", "must be between 0 and 1e6, is %v", c.Inputs))
	case !(c.Labels >= 0 && c.Labels <= 1):
		err = errors.Join(err, component.Fieldf("labels", "must be in [0, 1], is %v", c.Labels))
	case !(c.Targets >= 0 && c.Targets <= 1e6):
		err = errors.Join(err, component.Fieldf("targets", "must be between 0 and 1e6, is %v", c.Targets))
	case c.Draw == "example" && err == nil && info.Tasks > 0 && info.Examples == 0:
		err = component.Fieldf("draw", "must be showing: the stream makes its examples as it goes, and shows none twice")
	}
	return err
}

// Info implements [stream.Config].
func (c noiseConfig) Info() (stream.Info, error) { return c.Of.Alone("of", c.Tasks) }

// noisy shows x + σ·z, z ~ N(0, I), in the place of an input x, and in the place of
// a label with probability p one of the others, uniformly drawn. What is sampled or
// held out for a measurement of a task is without noise.
type noisy struct {
	cfg                     noiseConfig
	info                    stream.Info
	inner                   stream.Stream
	inputs, labels, targets rng.Key
	task                    int
	z                       []float32
}

func newNoisy(c noiseConfig, env stream.Env) (stream.Stream, error) {
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	s := &noisy{
		cfg: c, info: info, inputs: env.Key("input-noise"), labels: env.Key("label-noise"), targets: env.Key("target-noise"),
		z: make([]float32, max(info.Input.Elems(), info.Outputs)),
	}
	s.inner, err = c.Of.Build(env)
	return s, err
}

// Enter implements [stream.Stream].
func (s *noisy) Enter(task int) error {
	s.task = task
	return s.inner.Enter(task)
}

// Batch implements [stream.Stream].
func (s *noisy) Batch(step int64, b *stream.Batch) {
	s.inner.Batch(step, b)
	perTask := s.info.StepsPerTask * int64(s.info.Batch)
	x, y := s.info.Input.Elems(), s.info.Outputs
	for i := range b.N {
		number := uint64(s.task)*uint64(perTask) + uint64(step*int64(b.N)+int64(i))
		if s.cfg.Draw == "example" {
			number = uint64(s.task)*uint64(s.info.Examples) + uint64(b.Index[i])
		}
		add(s.inputs, s.cfg.Inputs, number, b.X[i*x:(i+1)*x], s.z)
		if b.Labels == nil {
			add(s.targets, s.cfg.Targets, number, b.Targets[i*y:(i+1)*y], s.z)
			continue
		}
		first, n := s.info.HeadOf(s.task)
		if n > 1 && float64(s.labels.Float32(number, 0)) < s.cfg.Labels {
			place := (int(b.Labels[i]) - first + 1 + s.labels.Intn(n-1, number, 1)) % n
			b.Labels[i] = int32(first + place)
		}
	}
}

// add adds normal noise to values.
func add(key rng.Key, deviation float64, number uint64, values, z []float32) {
	if deviation == 0 {
		return
	}
	z = z[:len(values)]
	key.FillNormal(z, number)
	for k := range values {
		values[k] += float32(float32(deviation) * z[k]) // rounded: never fused
	}
}

// Sample implements [stream.Stream].
func (s *noisy) Sample(b *stream.Batch) { s.inner.Sample(b) }

// TestSize implements [stream.Tester].
func (s *noisy) TestSize() int { return testSize(s.inner) }

// Test implements [stream.Tester].
func (s *noisy) Test(first int, b *stream.Batch) { s.inner.(stream.Tester).Test(first, b) }
