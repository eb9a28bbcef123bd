package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/stream"
)

func init() {
	stream.Register(component.Info{
		Name:    "images",
		Paper:   "Toneva et al. 2019, An Empirical Study of Example Forgetting during Deep Neural Network Learning",
		Summary: "classify the images of a dataset, each epoch a task: no change but of their order",
	}, imagesConfig{Dataset: "mnist", Tasks: 20, Batch: 64, Ranking: imagesRanking{From: "start"}, Scale: "unit", Targets: "none"}, nil, newImagesStream)
}

type imagesConfig struct {
	Dataset stream.Dataset `json:"dataset" doc:"images to classify: a dataset of the catalogue or your own, or several joined by + with the classes of all"`
	Tasks   int            `json:"tasks" doc:"number of tasks, passes over the images, every one in a new order"`
	Batch   int            `json:"batch" doc:"examples of a step; what is left behind a pass's last whole batch is left out"`
	Subset  int            `json:"subset" doc:"use only so many training images, drawn once per seed; 0 uses all"`
	Noise   float64        `json:"noise" doc:"fraction of the training images that have, for good, a label drawn among the wrong ones"`
	Remove  float64        `json:"remove" doc:"fraction of the training images that are left out, drawn once per seed or by a ranking"`
	Ranking imagesRanking  `json:"ranking" doc:"an order of all training images, by which those that are left out are taken"`
	Scale   string         `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split; of a dataset of floats, each feature by its own range, or mean and deviation, there; none leaves values as they are" enum:"unit|symmetric|standard|none"`
	Targets targetScale    `json:"targets,omitzero" doc:"targets of a dataset to regress on: as they are (none), or each with mean 0 and deviation 1 over the training split" enum:"none|standard"`
}

// imagesRanking is a ranking of the training images that another run has
// published, such as that of the analysis forgetting-scores: safetensors with
// "ranking", I32 [images], every image once.
type imagesRanking struct {
	Artifact string `json:"artifact" doc:"the ranking, by its name in needs; \"\" for none"`
	From     string `json:"from" doc:"where images are left out: from its start (those least forgotten) or its end" enum:"start|end"`
}

// kept returns how many training images are shown.
func (c imagesConfig) kept() (int, error) {
	m, err := lookup(c.Dataset)
	n := m.Train
	if c.Subset > 0 {
		n = c.Subset
	}
	return n - fraction(c.Remove, n), err
}

func (c imagesConfig) steps() (int64, error) {
	n, err := c.kept()
	if err != nil {
		return 0, err
	}
	if c.Batch > n {
		return 0, component.Fieldf("batch", "must be at most the %d examples of a pass, is %d", n, c.Batch)
	}
	return stream.CheckLength(c.Tasks, n/max(1, c.Batch)*c.Batch, c.Batch)
}

func (c imagesConfig) Validate() error {
	if err := checkSubset(c.Dataset, c.Subset); err != nil {
		return err
	}
	if c.Noise > 0 {
		if err := checkClasses(c.Dataset, "gives wrong labels with noise above 0"); err != nil {
			return err
		}
	}
	switch {
	case !(c.Noise >= 0 && c.Noise <= 1):
		return component.Fieldf("noise", "must be in [0, 1], is %v", c.Noise)
	case !(c.Remove >= 0 && c.Remove < 1):
		return component.Fieldf("remove", "must be in [0, 1), is %v", c.Remove)
	case c.Ranking.Artifact != "" && c.Remove == 0:
		return component.Fieldf("remove", "missing: the ranking says which images are left out, this how many (0.3, say)")
	case c.Batch < 1:
		return component.Fieldf("batch", "must be at least 1, is %d", c.Batch)
	}
	_, err := c.steps()
	return err
}

// Info implements [stream.Config].
func (c imagesConfig) Info() (stream.Info, error) {
	steps, err := c.steps()
	if err != nil {
		return stream.Info{}, err
	}
	return imageInfo(c.Dataset, 0, 0, c.Tasks, steps, c.Batch)
}

// imagesStream shows the same images under the same labels in every task. Which
// labels are wrong depends on the image only, not on which are left out.
type imagesStream struct {
	gallery
	labels []int32 // by item
}

func newImagesStream(c imagesConfig, env stream.Env) (stream.Stream, error) {
	g, err := newGallery(env, c.Dataset, c.Scale, c.Subset, 0)
	info, wrong := c.Info()
	kept, unknown := c.kept()
	if err := errors.Join(err, wrong, unknown); err != nil {
		return nil, err
	}
	// Where a dataset is smaller than the catalogue says, none are left out that
	// the length of a task counts on.
	n := len(g.chosen)
	if n < kept {
		return nil, component.Fieldf("dataset", "%s has %d training examples, %d are asked for: ask for fewer", titled(c.Dataset), n, kept)
	}
	g.images.scaleTargets(c.Targets)
	s := &imagesStream{gallery: g}
	all := make([]int32, g.images.train.n)
	env.Key("noise").Perm(all, 0)
	noisy := make([]bool, len(all))
	for _, image := range all[:fraction(c.Noise, len(all))] {
		noisy[image] = true
	}
	removed := make([]int32, n)
	env.Key("remove").Perm(removed, 0)
	if c.Ranking.Artifact != "" {
		if removed, err = c.Ranking.items(env.Artifacts, g.chosen, len(all)); err != nil {
			return nil, component.At("ranking", err)
		}
	}
	out := make([]bool, n)
	for _, item := range removed[:n-kept] {
		out[item] = true
	}
	names := env.Key("wrong-labels")
	s.chosen = nil
	for item, image := range g.chosen {
		if out[item] {
			continue
		}
		label := int32(0)
		if g.head > 0 {
			label = int32(g.images.train.class(image))
		}
		if noisy[image] && g.head > 1 {
			label = (label + 1 + int32(names.Intn(g.head-1, uint64(image), 0))) % int32(g.head)
		}
		s.chosen, s.labels = append(s.chosen, image), append(s.labels, label)
	}
	s.label = func(item int32) int32 { return s.labels[item] }
	s.order = newPresentation(env.Key("order"), kept, info.StepsPerTask*int64(c.Batch), false)
	return s, nil
}

// Enter implements [stream.Stream].
func (s *imagesStream) Enter(task int) error {
	s.enter(task)
	return nil
}

// items returns the items, which show the chosen of n images, in the order in
// which they are left out.
func (r imagesRanking) items(artifacts component.Artifacts, chosen []int32, n int) ([]int32, error) {
	b, err := artifacts.Artifact(r.Artifact)
	if err != nil {
		return nil, err
	}
	f, err := safetensors.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", r.Artifact, err)
	}
	t, ok := f.ByName()["ranking"]
	if !ok || t.DType != "I32" {
		return nil, component.Fieldf("artifact", "%s is no ranking: it has no tensor ranking of type I32", r.Artifact)
	}
	item := make([]int32, n) // by image, −1 where it is not chosen
	for image := range item {
		item[image] = -1
	}
	for i, image := range chosen {
		item[image] = int32(i)
	}
	var order []int32
	ranked := make([]bool, n)
	for rest := t.Data; len(rest) > 0; rest = rest[4:] {
		image := int32(binary.LittleEndian.Uint32(rest))
		if image < 0 || int(image) >= n || ranked[image] {
			return nil, component.Fieldf("artifact", "%s ranks image %d, which is not one of the %d or comes twice", r.Artifact, image, n)
		}
		ranked[image] = true
		if item[image] >= 0 {
			order = append(order, item[image])
		}
	}
	if len(t.Data) != 4*n {
		return nil, component.Fieldf("artifact", "%s ranks %d images, the dataset has %d", r.Artifact, len(t.Data)/4, n)
	}
	if r.From == "end" {
		slices.Reverse(order)
	}
	return order, nil
}
