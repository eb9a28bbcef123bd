package streams

import (
	"errors"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	stream.Register(component.Info{
		Name:    "rotated",
		Paper:   "Lopez-Paz & Ranzato 2017, Gradient Episodic Memory for Continual Learning (MNIST rotations)",
		Summary: "classify images that every task turns by an angle of its own",
	}, rotatedConfig{
		Dataset: "mnist", Tasks: 20, ExamplesPerTask: 60000, Batch: 10,
		Angles: "random", Degrees: 180, Scale: "unit", Targets: "none", Order: "fresh",
	}, nil, newRotated)
}

type rotatedConfig struct {
	Dataset         stream.Dataset `json:"dataset" doc:"images to classify: a dataset of the catalogue or your own, or several joined by + with the classes of all"`
	Tasks           int            `json:"tasks" doc:"number of tasks; the angle changes between them"`
	ExamplesPerTask int            `json:"examples_per_task" doc:"examples of each task; beyond one pass over the images every further pass is in a new order"`
	Batch           int            `json:"batch" doc:"examples of a step"`
	Subset          int            `json:"subset" doc:"use only so many training images, drawn once per seed; 0 uses all"`
	Heads           int            `json:"heads" doc:"output heads of the tasks' own: task t is answered by head t mod heads, the others stay closed; 0 is one head that all tasks share"`
	Angles          string         `json:"angles" doc:"random: a task's angle is uniform in [0, degrees); linear: task t is turned by t·degrees" enum:"random|linear"`
	Degrees         float64        `json:"degrees" doc:"range of random angles, or the step of linear ones, in degrees counterclockwise"`
	Scale           string         `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split; of a dataset of floats, each feature by its own range, or mean and deviation, there; none leaves values as they are" enum:"unit|symmetric|standard|none"`
	Targets         targetScale    `json:"targets,omitzero" doc:"targets of a dataset to regress on: as they are (none), or each with mean 0 and deviation 1 over the training split" enum:"none|standard"`
	Order           string         `json:"order" doc:"a task begins a fresh pass over the images in a new order, or continues the pass of the task before" enum:"fresh|continuing"`
}

func (c rotatedConfig) Validate() error {
	_, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	if !(math.Abs(c.Degrees) <= 360) {
		err = errors.Join(err, component.Fieldf("degrees", "must be between -360 and 360, is %v", c.Degrees))
	}
	return errors.Join(err, checkImages(c.Dataset, "dataset", "are turned"), checkSubset(c.Dataset, c.Subset), checkHeads(c.Dataset, c.Heads))
}

// Info implements [stream.Config].
func (c rotatedConfig) Info() (stream.Info, error) {
	steps, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	if err != nil {
		return stream.Info{}, err
	}
	return imageInfo(c.Dataset, 0, c.Heads, c.Tasks, steps, c.Batch)
}

// rotated turns images by the task's angle θ about their middle. The pixel of the
// turned image in row r and column c, counted from the middle, is the one of the
// image at row r·cos θ + c·sin θ, column c·cos θ − r·sin θ, interpolated
// bilinearly between the four around that point; beyond the image it is dark, 0
// in the dataset. Bytes are scaled before they are interpolated; floats, whose
// scale is another one for every pixel, after.
type rotated struct {
	gallery
	cfg    rotatedConfig
	key    rng.Key
	width  int
	height int
	taps   []tap     // by pixel
	source []float32 // [pixels+1] the image's inputs, and that of a dark pixel
}

// tap is where a turned pixel comes from.
type tap struct {
	at     [4]int32 // pixels of the image, or the dark one behind its last
	weight [4]float32
}

func newRotated(c rotatedConfig, env stream.Env) (stream.Stream, error) {
	g, err := newGallery(env, c.Dataset, c.Scale, c.Subset, c.Heads)
	if err != nil {
		return nil, err
	}
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	g.images.scaleTargets(c.Targets)
	g.order = newPresentation(env.Key("order"), len(g.chosen), int64(c.ExamplesPerTask), c.Order == "continuing")
	shape := info.Input // [height width] or [channels height width]
	s := &rotated{
		gallery: g, cfg: c, key: env.Key("angle"),
		height: shape[len(shape)-2], width: shape[len(shape)-1],
		taps: make([]tap, g.images.pixels), source: make([]float32, g.images.pixels+1),
	}
	if g.images.scale == nil {
		s.source[g.images.pixels] = g.images.values[0]
	}
	s.paint = s.turn
	return s, nil
}

// halfTurns returns the angle of a task, in units of 180 degrees.
func (s *rotated) halfTurns(task int) float64 {
	if s.cfg.Angles == "linear" {
		return math.Mod(float64(task)*s.cfg.Degrees, 360) / 180
	}
	uniform := float64(s.key.Uint64(uint64(task), 0)>>11) / (1 << 53)
	return uniform * s.cfg.Degrees / 180
}

// Enter implements [stream.Stream].
func (s *rotated) Enter(task int) error {
	s.enter(task)
	angle := s.halfTurns(task)
	sin, cos := linalg.SinPi(angle), linalg.CosPi(angle)
	midRow, midColumn := float64(float64(s.height-1)/2), float64(float64(s.width-1)/2)
	plane := s.height * s.width
	for i := range s.taps {
		r, c := float64(i%plane/s.width)-midRow, float64(i%s.width)-midColumn
		row := float64(r*cos) + float64(c*sin) + midRow
		column := float64(c*cos) - float64(r*sin) + midColumn
		top, left := math.Floor(row), math.Floor(column)
		down, right := row-top, column-left
		for k := range 4 {
			y, x := int(top)+k/2, int(left)+k%2
			wy, wx := 1-down, 1-right
			if k/2 == 1 {
				wy = down
			}
			if k%2 == 1 {
				wx = right
			}
			s.taps[i].weight[k] = float32(wy * wx)
			s.taps[i].at[k] = int32(s.images.pixels)
			if y >= 0 && y < s.height && x >= 0 && x < s.width {
				s.taps[i].at[k] = int32(i/plane*plane + y*s.width + x)
			}
		}
	}
	return nil
}

// turn writes a turned image.
func (s *rotated) turn(dst []float32, of example) {
	src, values := s.source, &s.images.values
	for i, p := range of.bytes {
		src[i] = values[p]
	}
	copy(src, of.floats)
	for i := range dst {
		t := &s.taps[i]
		v := float32(t.weight[0] * src[t.at[0]])
		v += float32(t.weight[1] * src[t.at[1]])
		v += float32(t.weight[2] * src[t.at[2]])
		v += float32(t.weight[3] * src[t.at[3]])
		dst[i] = v
	}
	for i, a := range s.images.scale {
		dst[i] = a.Of(dst[i])
	}
}
