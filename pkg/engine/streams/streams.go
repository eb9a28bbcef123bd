// Package streams has the task sequences that come with neoteny, one file each.
//
// The streams over images share what is in this file: how pixels become inputs,
// in which order a training split is presented, and how batches are filled.
package streams

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// lookup returns the catalogue's description of a dataset parameter.
func lookup(name string) (data.Meta, error) {
	m, ok := data.Lookup(name)
	if !ok {
		var names []string
		for _, d := range data.Catalogue() {
			names = append(names, d.Name)
		}
		return m, component.Fieldf("dataset", "unknown dataset %q%s (have: %v)", name, component.DidYouMean(name, names), names)
	}
	return m, nil
}

// imageInfo describes a stream that shows images of a dataset under labels of
// the given number of classes.
func imageInfo(dataset string, classes, tasks int, steps int64, batch int) (stream.Info, error) {
	m, err := lookup(dataset)
	if err != nil {
		return stream.Info{}, err
	}
	if classes == 0 {
		classes = m.Classes
	}
	return stream.Info{
		Input: tensor.Shape(m.Shape), Classes: classes, Outputs: classes,
		Tasks: tasks, StepsPerTask: steps, Batch: batch, Datasets: []string{dataset},
	}, nil
}

// images turns the training images of a dataset into inputs.
type images struct {
	split   data.Split
	pixels  int
	values  [256]float32 // what a pixel's byte becomes
	to      []int32      // pixel i of an image becomes input to[i]
	touched uint8        // see input
}

// newImages loads a dataset. The permutation is the identity to begin with.
//
// Scales of a pixel p ∈ {0..255}: unit p/255; symmetric 2p/255 − 1; standard
// (p/255 − µ)/σ with the mean and standard deviation over all pixels of the
// training split (MNIST: 0.1307 and 0.3081).
func newImages(env stream.Env, dataset, scale string) (*images, error) {
	d, err := env.Data.Load(dataset)
	if err != nil {
		return nil, err
	}
	m := &images{split: d.TrainSplit, pixels: d.Size()}
	m.to = make([]int32, m.pixels)
	for i := range m.to {
		m.to[i] = int32(i)
	}
	mean, deviation := 0.0, 1.0
	switch scale {
	case "symmetric":
		mean, deviation = 0.5, 0.5
	case "standard":
		mean, deviation = moments(m.split.X)
	}
	for p := range m.values {
		m.values[p] = float32((float64(p)/255 - mean) / deviation)
	}
	return m, nil
}

// moments returns mean and standard deviation of bytes as fractions of 255.
// Images that are all of one colour have deviation 1, so that they can be
// divided by it.
func moments(x []uint8) (mean, deviation float64) {
	var count [256]uint64
	for _, p := range x {
		count[p]++
	}
	var sum, squares float64 // exact: integers below 2^53
	for p, n := range count {
		sum += float64(float64(p) * float64(n))
		squares += float64(float64(p*p) * float64(n))
	}
	n := float64(len(x))
	mean = sum / n / 255
	variance := squares/n/(255*255) - float64(mean*mean)
	if len(x) == 0 || variance <= 0 {
		return mean, 1
	}
	return mean, math.Sqrt(variance)
}

// input writes an image's pixels to their places in dst. It has no branch that
// depends on a pixel: passing over dark ones costs more in wrong predictions
// than it saves.
func (m *images) input(dst []float32, image int32) {
	row := m.split.X[int(image)*m.pixels : (int(image)+1)*m.pixels]
	// Images come in random order from a split larger than the caches. Asking
	// for all of a row's cache lines at once waits for memory once instead of
	// once per line.
	for i := 0; i < len(row); i += 64 {
		m.touched += row[i]
	}
	to, values := m.to, &m.values
	for len(row) >= 8 && len(to) >= 8 {
		dst[to[0]] = values[row[0]]
		dst[to[1]] = values[row[1]]
		dst[to[2]] = values[row[2]]
		dst[to[3]] = values[row[3]]
		dst[to[4]] = values[row[4]]
		dst[to[5]] = values[row[5]]
		dst[to[6]] = values[row[6]]
		dst[to[7]] = values[row[7]]
		row, to = row[8:], to[8:]
	}
	for i, p := range row {
		dst[to[i]] = values[p]
	}
}

// gallery is the part that streams over images share: it shows the chosen
// images in the order of their presentation, each under the label that the
// stream gives it.
type gallery struct {
	images *images
	chosen []int32 // the images of the task
	order  presentation
	// label names the image that is item number item of those chosen.
	label func(item, image int32) int32
}

// Batch implements [stream.Stream].
func (g *gallery) Batch(step int64, b *stream.Batch) {
	for i := range b.N {
		g.show(g.order.train(step*int64(b.N)+int64(i)), i, b)
	}
}

// Sample implements [stream.Stream].
func (g *gallery) Sample(b *stream.Batch) {
	for i := range b.N {
		g.show(g.order.sample(i), i, b)
	}
}

// show writes example i of a batch.
func (g *gallery) show(item int32, i int, b *stream.Batch) {
	image, n := g.chosen[item], g.images.pixels
	g.images.input(b.X[i*n:(i+1)*n], image)
	b.Labels[i] = g.label(item, image)
}

// choose returns count different numbers below n: all of them in order for
// count 0, else as the key draws them.
func choose(n, count int, key rng.Key) []int32 {
	all := make([]int32, n)
	if count == 0 {
		for i := range all {
			all[i] = int32(i)
		}
		return all
	}
	key.Perm(all, 0)
	return all[:count:count]
}

// presentation is the order in which a task shows the n items that it has:
// pass after pass, each a permutation of its own.
type presentation struct {
	key        rng.Key
	n          uint64
	perTask    uint64 // examples of a task
	stride     uint64 // from the position of a task's first example to the next task's
	base       uint64
	now, first pass // that of the training step, and that of measurements
}

// pass is one drawn permutation.
type pass struct {
	number uint64
	order  []int32 // nil before the first draw
}

// newPresentation presents n items, perTask of them in every task. With
// continuing, tasks share one sequence of passes; without, each begins a new
// pass, so that it shows no item twice before it has shown all.
func newPresentation(key rng.Key, n int, perTask int64, continuing bool) presentation {
	p := presentation{key: key, n: uint64(n), perTask: uint64(perTask)}
	p.stride = p.perTask
	if !continuing {
		p.stride = (p.perTask + p.n - 1) / p.n * p.n
	}
	return p
}

// enter moves to a task.
func (p *presentation) enter(task int) { p.base = uint64(task) * p.stride }

// train returns which item is example i of the task.
func (p *presentation) train(i int64) int32 { return p.at(&p.now, uint64(i)) }

// sample is train for measurements, which start at the task's first example
// and go round. Its pass is kept apart from that of the training steps, which
// may be another one.
func (p *presentation) sample(i int) int32 { return p.at(&p.first, uint64(i)%p.perTask) }

func (p *presentation) at(c *pass, i uint64) int32 {
	i += p.base
	number := i / p.n
	if c.order == nil || c.number != number {
		if c.order == nil {
			c.order = make([]int32, p.n)
		}
		p.key.Perm(c.order, number)
		c.number = number
	}
	return c.order[i-number*p.n]
}
