package inputs

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/rng"
)

func init() {
	method.Register(component.Info{
		Name: "augment",
		Paper: "Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Neural Networks; " +
			"He et al. 2016, Deep Residual Learning for Image Recognition; shift: Kostrikov et al. 2021, Image Augmentation Is All You Need",
		Summary: "the images of a training batch are flipped, moved, cropped and made noisy at random; measurements see them as they are",
		Trial: component.Trial{
			Inert:  []component.Object{{"crop": 0.0, "flip_horizontal": 0.0}},
			Lively: component.Object{"flip_vertical": 0.5, "shift": 1.0, "noise": 0.1},
			Stream: component.Object{"kind": "permuted", "tasks": 3.0, "examples_per_task": 24.0, "batch": 2.0},
		},
	}, augmentConfig{Crop: 4, FlipHorizontal: 0.5}, map[string]augmentConfig{
		"cifar": {Crop: 4, FlipHorizontal: 0.5}, // He et al. 2016
		"drq":   {Shift: 4},                     // Kostrikov et al. 2021
		"noise": {Noise: 0.1},                   // of inputs of any shape
	}, newAugment)
}

type augmentConfig struct {
	FlipHorizontal float64 `json:"flip_horizontal" doc:"probability of an image to be mirrored left to right"`
	FlipVertical   float64 `json:"flip_vertical" doc:"probability of an image to be mirrored top to bottom"`
	Shift          int     `json:"shift" doc:"s: an image is moved by up to s pixels, down or up and right or left, and its edge is repeated where nothing is left; 0: not at all"`
	Crop           int     `json:"crop" doc:"p: a window of the image's size is cut out of the image with p pixels of fill on every side; 0: not at all"`
	Fill           float64 `json:"fill" doc:"value of the pixels around the image for crop, as the stream scales them"`
	Noise          float64 `json:"noise" doc:"σ: standard deviation of the normal noise that is added to every input, as the stream scales them; goes with inputs of any shape"`
}

// maxMove is the largest shift and crop.
const maxMove = 1 << 10

func (c augmentConfig) Validate() error {
	return errors.Join(
		check.Range("flip_horizontal", c.FlipHorizontal, 0, 1), check.Range("flip_vertical", c.FlipVertical, 0, 1),
		check.Between("shift", c.Shift, 0, maxMove), check.Between("crop", c.Crop, 0, maxMove),
		check.Range("fill", c.Fill, -1e6, 1e6), check.Range("noise", c.Noise, 0, 1e6),
	)
}

// moves reports whether pixels change their places, for which they must have some.
func (c augmentConfig) moves() bool {
	return c.FlipHorizontal > 0 || c.FlipVertical > 0 || c.Shift > 0 || c.Crop > 0
}

// Needs implements [component.Needer].
func (c augmentConfig) Needs() []component.Capability {
	if c.moves() {
		return []component.Capability{component.Images}
	}
	return nil
}

// augment changes the examples of every training batch, all channels of an image alike,
// in this order:
//
//	flip   each axis by itself, with its probability
//	shift  x'[i][j] = x[clip(i+di)][clip(j+dj)],   di, dj uniform in −s … s
//	crop   x'[i][j] = x[i+di][j+dj], or fill outside,   di, dj uniform in −p … p
//	noise  x' = x + σ·z,   z ~ N(0, I)
//
// Draws are a function of the run's seed, the step and the example's place in the batch.
// Memories of replay methods hold examples as they were shown.
type augment struct {
	cfg                      augmentConfig
	channels, height, width  int
	channel, row, column     int // how far apart they are
	flip, shift, crop, noise rng.Key
	image, z                 []float32
}

func newAugment(c augmentConfig, env method.Env) (method.Method, error) {
	m := &augment{
		cfg: c, flip: env.Key("flip"), shift: env.Key("shift"), crop: env.Key("crop"), noise: env.Key("noise"),
		image: make([]float32, env.Inputs), z: make([]float32, env.Inputs),
	}
	switch shape := env.Info.Input; {
	case !c.moves():
	case len(shape) == 2:
		m.channels, m.height, m.width = 1, shape[0], shape[1]
		m.channel, m.row, m.column = 0, m.width, 1
	case len(shape) == 3 && env.Info.ChannelsFirst:
		m.channels, m.height, m.width = shape[0], shape[1], shape[2]
		m.channel, m.row, m.column = m.height*m.width, m.width, 1
	case len(shape) == 3:
		m.height, m.width, m.channels = shape[0], shape[1], shape[2]
		m.channel, m.row, m.column = 1, m.width*m.channels, m.channels
	default:
		return nil, component.Fieldf("kind", "augment needs images, the examples are of shape %v; noise alone goes with any shape", shape)
	}
	return m, nil
}

// Batch implements [method.Batcher].
func (m *augment) Batch(s *learner.Step) error {
	size := len(m.image)
	for i := range s.Batch.N {
		x := s.Batch.X[i*size : (i+1)*size]
		step, example := uint64(s.Index), uint64(i)
		if m.cfg.moves() {
			m.move(x, step, example)
		}
		if m.cfg.Noise > 0 {
			m.noise.FillNormal(m.z, step*uint64(s.Batch.N)+example)
			for k := range x {
				x[k] += float32(float32(m.cfg.Noise) * m.z[k]) // rounded: never fused
			}
		}
	}
	return nil
}

// move flips, shifts and crops one image.
func (m *augment) move(x []float32, step, example uint64) {
	copy(m.image, x)
	flip := m.flip.Block(step, example)
	mirrorX, mirrorY := below(flip[0], m.cfg.FlipHorizontal), below(flip[1], m.cfg.FlipVertical)
	shiftY, shiftX := offsets(m.shift, m.cfg.Shift, step, example)
	cropY, cropX := offsets(m.crop, m.cfg.Crop, step, example)
	fill := float32(m.cfg.Fill)
	for i := range m.height {
		y, insideY := source(i, cropY, shiftY, m.height, mirrorY)
		for j := range m.width {
			column, insideX := source(j, cropX, shiftX, m.width, mirrorX)
			for c := range m.channels {
				to := c*m.channel + i*m.row + j*m.column
				if insideY && insideX {
					x[to] = m.image[c*m.channel+y*m.row+column*m.column]
				} else {
					x[to] = fill
				}
			}
		}
	}
}

// below reports whether an event of that probability happens.
func below(bits uint32, probability float64) bool {
	return float64(bits>>8)/(1<<24) < probability
}

// offsets draws how far an image moves along both axes, by at most n either way.
func offsets(key rng.Key, n int, step, example uint64) (y, x int) {
	if n == 0 {
		return 0, 0
	}
	return key.Intn(2*n+1, step, 2*example) - n, key.Intn(2*n+1, step, 2*example+1) - n
}

// source returns where the pixel at i of an axis comes from; false for none.
func source(i, crop, shift, size int, mirrored bool) (int, bool) {
	i += crop
	if i < 0 || i >= size {
		return 0, false
	}
	i = min(max(i+shift, 0), size-1)
	if mirrored {
		i = size - 1 - i
	}
	return i, true
}

var (
	_ method.Batcher   = (*augment)(nil)
	_ component.Needer = augmentConfig{}
)
