// Package streams has the task sequences that come with neoteny, one file each.
//
// The streams over images share what is in this file: how pixels become inputs,
// in which order a training split is presented, and how batches are filled.
package streams

import (
	"math"
	"slices"
	"strings"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// lookup returns the catalogue's description of a dataset parameter. Several
// datasets joined by + are one whose classes are those of the first, then those
// of the next: fashion-mnist+mnist has 20.
func lookup(name stream.Dataset) (data.Meta, error) {
	var joint data.Meta
	for i, part := range strings.Split(string(name), "+") {
		m, ok := data.Lookup(part)
		if _, err := data.ParseRef(part); data.IsRef(part) && err != nil {
			return m, component.Fieldf("dataset", "%v", err)
		}
		if !ok {
			var names []string
			for _, d := range data.Catalogue() {
				names = append(names, d.Name)
			}
			return m, component.Fieldf("dataset", "unknown dataset %q%s (have: %v; your own: `neoteny data add NAME PATH`)", part, component.DidYouMean(part, names), names)
		}
		if i == 0 {
			joint = m
			continue
		}
		switch {
		case !slices.Equal(joint.Shape, m.Shape):
			return m, component.Fieldf("dataset", "images of %s are of shape %v, those of %s of %v", joint.Label(), joint.Shape, m.Label(), m.Shape)
		case joint.Floats != m.Floats:
			return m, component.Fieldf("dataset", "features of %s and %s are not both bytes or both floats", joint.Label(), m.Label())
		case joint.Classes == 0 || m.Classes == 0:
			return m, component.Fieldf("dataset", "%s and %s cannot be joined by +: that joins their classes, and one of them has targets to regress on", joint.Label(), m.Label())
		}
		joint.Name += "+" + m.Name
		joint.Fewest = min(joint.Fewest, m.Fewest)
		joint.Classes += m.Classes
		joint.Train += m.Train
		joint.Test += m.Test
	}
	if joint.Classes > 256 {
		return joint, component.Fieldf("dataset", "%s has %d classes, more than 256", name, joint.Classes)
	}
	return joint, nil
}

// titled is a dataset parameter as messages name it.
func titled(dataset stream.Dataset) string {
	parts := strings.Split(string(dataset), "+")
	for i, part := range parts {
		if m, ok := data.Lookup(part); ok {
			parts[i] = m.Label()
		}
	}
	return strings.Join(parts, "+")
}

// imageInfo describes a stream that shows images of a dataset under labels of
// the given number of classes (0: those of the dataset), in that many heads of
// the tasks' own (0: one for all).
func imageInfo(dataset stream.Dataset, classes, heads, tasks int, steps int64, batch int) (stream.Info, error) {
	m, err := lookup(dataset)
	if err != nil {
		return stream.Info{}, err
	}
	if classes == 0 {
		classes = m.Classes
	}
	info := stream.Info{
		Input: tensor.Shape(m.Shape), ChannelsFirst: len(m.Shape) == 3, Classes: classes, Outputs: classes,
		Tasks: tasks, StepsPerTask: steps, Batch: batch,
		Examples: m.Train, Datasets: strings.Split(string(dataset), "+"),
	}
	if classes == 0 {
		info.Outputs = m.Targets
	}
	if heads > 0 {
		info.Head = classes
		info.Classes, info.Outputs = heads*classes, heads*classes
	}
	return info, nil
}

// checkHeads checks the number of the tasks' own heads.
func checkHeads(dataset stream.Dataset, heads int) error {
	if heads < 0 || heads > 1<<12 {
		return component.Fieldf("heads", "must be between 0 (one that all tasks share) and %d, is %d", 1<<12, heads)
	}
	if m, err := lookup(dataset); err == nil && m.Classes == 0 && heads > 0 {
		return component.Fieldf("heads", "must be 0: a head is one of classes, and %s has targets to regress on", m.Label())
	}
	return nil
}

// checkClasses checks that a dataset has classes, for a stream that does something to labels.
func checkClasses(dataset stream.Dataset, does string) error {
	if m, err := lookup(dataset); err == nil && m.Classes == 0 {
		return component.Fieldf("dataset", "%s has targets to regress on, and this stream %s: take one with classes, or a stream such as permuted, rotated or images", m.Label(), does)
	}
	return nil
}

// checkImages checks that the examples of a dataset have rows and columns. What is what asks for it.
func checkImages(dataset stream.Dataset, field, what string) error {
	if m, err := lookup(dataset); err == nil && len(m.Shape) != 2 && len(m.Shape) != 3 {
		return component.Fieldf(field, "examples of %s are of shape %v and %s: that takes images, of shape [height, width] or [channels, height, width]", m.Label(), m.Shape, what)
	}
	return nil
}

// images turns the images of a dataset into inputs, and other examples just so.
// Training images are numbered as the dataset has them, those of a second dataset
// after those of the first; so are held-out images.
type images struct {
	train, test shelf
	pixels      int
	classes     int
	targets     int           // of regression
	answers     []data.Affine // what each target becomes; nil where they stay
	values      [256]float32  // what a pixel's byte becomes
	scale       []data.Affine // by pixel, where they are floats: what one becomes
	to          []int32       // pixel i of an image becomes input to[i]
	touched     uint8         // see input
}

// example is an example of a dataset: bytes or floats.
type example struct {
	bytes  []uint8
	floats []float32
}

// shelf is a split of one dataset, or of several behind one another.
type shelf struct {
	n     int
	parts []shelfPart
}

type shelfPart struct {
	data.Split
	first, class int // number of its first image, and of its first class
}

func (s *shelf) add(d data.Split, class int) {
	s.parts = append(s.parts, shelfPart{d, s.n, class})
	s.n += d.N
}

// part returns where an image stands.
func (s *shelf) part(image int32) (p *shelfPart, i int) {
	p = &s.parts[0]
	for k := 1; k < len(s.parts) && int(image) >= s.parts[k].first; k++ {
		p = &s.parts[k]
	}
	return p, int(image) - p.first
}

// class returns the class of an image.
func (s *shelf) class(image int32) int {
	p, i := s.part(image)
	return p.class + int(p.Y[i])
}

// newImages loads a dataset. The permutation is the identity to begin with.
//
// Scales of a pixel p ∈ {0..255}: unit p/255; symmetric 2p/255 − 1; standard
// (p/255 − µ)/σ with the mean and standard deviation over all pixels of the
// training split (MNIST: 0.1307 and 0.3081); none p. Those of floats are of
// [data.Scales].
func newImages(env stream.Env, dataset stream.Dataset, scale string) (*images, error) {
	m := &images{}
	for _, name := range strings.Split(string(dataset), "+") {
		d, err := env.Data.Load(name)
		if err != nil {
			return nil, err
		}
		m.pixels, m.targets = d.Size(), d.Targets
		m.train.add(d.TrainSplit, m.classes)
		m.test.add(d.TestSplit, m.classes)
		m.classes += d.Classes
	}
	m.to = make([]int32, m.pixels)
	for i := range m.to {
		m.to[i] = int32(i)
	}
	if m.train.n > 0 && m.train.parts[0].F != nil {
		var parts []data.Split
		for _, p := range m.train.parts {
			parts = append(parts, p.Split)
		}
		m.scale = data.Scales(scale, m.pixels, parts...)
		return m, nil
	}
	mean, deviation := 0.0, 1.0
	switch scale {
	case "none":
		for p := range m.values {
			m.values[p] = float32(p)
		}
		return m, nil
	case "symmetric":
		mean, deviation = 0.5, 0.5
	case "standard":
		var all [][]uint8
		for _, p := range m.train.parts {
			all = append(all, p.X)
		}
		mean, deviation = data.Moments(all...)
	}
	for p := range m.values {
		m.values[p] = float32((float64(p)/255 - mean) / deviation)
	}
	return m, nil
}

// input writes the pixels of a row to their places in dst. It has no branch that
// depends on a pixel: passing over dark ones costs more in wrong predictions
// than it saves.
func (m *images) input(dst []float32, of example) {
	if m.scale != nil {
		for i, v := range of.floats {
			dst[m.to[i]] = m.scale[i].Of(v)
		}
		return
	}
	row, to, values := of.bytes, m.to, &m.values
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

// row returns the values of an image.
func (m *images) row(from *shelf, image int32) example {
	p, k := from.part(image)
	if m.scale != nil {
		return example{floats: p.F[k*m.pixels : (k+1)*m.pixels]}
	}
	row := p.X[k*m.pixels : (k+1)*m.pixels]
	// Images come in random order from a split larger than the caches. Asking
	// for all of a row's cache lines at once waits for memory once instead of
	// once per line.
	for i := 0; i < len(row); i += 64 {
		m.touched += row[i]
	}
	return example{bytes: row}
}

// answer writes the targets of an image as those of example i of a batch; it
// reports whether there are any, or labels instead.
func (m *images) answer(from *shelf, image int32, i int, b *stream.Batch) bool {
	if m.targets == 0 {
		return false
	}
	p, k := from.part(image)
	dst := b.Targets[i*m.targets : (i+1)*m.targets]
	copy(dst, p.T[k*m.targets:(k+1)*m.targets])
	for j, a := range m.answers {
		dst[j] = a.Of(dst[j])
	}
	return true
}

// targetScale is a scale of targets. The default is left out of canonical specs,
// since those of before the parameter have none.
type targetScale string

// IsZero is for omitzero.
func (s targetScale) IsZero() bool { return s == "" || s == "none" }

// scaleTargets makes targets those of a scale.
func (m *images) scaleTargets(scale targetScale) {
	if !scale.IsZero() && m.targets > 0 {
		p := &m.train.parts[0] // datasets with targets are not joined
		m.answers = data.Scales(string(scale), m.targets, data.Split{N: p.N, F: p.T})
	}
}

// gallery is the part that streams over images share: it shows the chosen
// training images in the order of their presentation, and those held back, each
// under the label that its class has in the task.
type gallery struct {
	images *images
	chosen []int32 // the training images of the task
	held   []int32 // the held-out images of the task
	order  *presentation
	names  []int32                         // by class of the dataset: its label, of the task's head
	label  func(item int32) int32          // of a training item, where it does not follow from the class
	paint  func(dst []float32, of example) // what an image becomes, where its pixels do not only move

	heads int   // of tasks' own; 0 where they share one
	head  int   // labels of a head
	first int32 // label of the entered task's head
}

// newGallery loads a dataset for a stream that shows all of its images, or a
// subset of that many training images, under their classes.
func newGallery(env stream.Env, dataset stream.Dataset, scale string, subset, heads int) (gallery, error) {
	m, err := newImages(env, dataset, scale)
	if err != nil {
		return gallery{}, err
	}
	if m.train.n < max(1, subset) {
		return gallery{}, component.Fieldf("subset", "%s has %d training examples, %d are asked for: ask for fewer", titled(dataset), m.train.n, max(1, subset))
	}
	return gallery{
		images: m, chosen: choose(m.train.n, subset, env.Key("subset")), held: choose(m.test.n, 0, rng.Key{}),
		names: choose(m.classes, 0, rng.Key{}), heads: heads, head: m.classes,
	}, nil
}

// enter moves to a task.
func (g *gallery) enter(task int) {
	g.order.enter(task)
	if g.heads > 0 {
		g.first = int32(task % g.heads * g.head)
	}
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

// show writes a training item as example i of a batch.
func (g *gallery) show(item int32, i int, b *stream.Batch) {
	image, n := g.chosen[item], g.images.pixels
	g.draw(b.X[i*n:(i+1)*n], g.images.row(&g.images.train, image))
	b.Index[i] = image
	if g.images.answer(&g.images.train, image, i, b) {
		return
	}
	if g.label != nil {
		b.Labels[i] = g.first + g.label(item)
		return
	}
	b.Labels[i] = g.first + g.names[g.images.train.class(image)]
}

// draw writes an image as an input of the entered task.
func (g *gallery) draw(dst []float32, of example) {
	if g.paint != nil {
		g.paint(dst, of)
		return
	}
	g.images.input(dst, of)
}

// TestSize implements [stream.Tester].
func (g *gallery) TestSize() int { return len(g.held) }

// Test implements [stream.Tester].
func (g *gallery) Test(first int, b *stream.Batch) {
	n := g.images.pixels
	for i := range b.N {
		image := g.held[(first+i)%len(g.held)]
		g.draw(b.X[i*n:(i+1)*n], g.images.row(&g.images.test, image))
		b.Index[i] = -1
		if !g.images.answer(&g.images.test, image, i, b) {
			b.Labels[i] = g.first + g.names[g.images.test.class(image)]
		}
	}
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
	order  []int32 // nil before the first draw; see at
}

// newPresentation presents n items, perTask of them in every task. With
// continuing, tasks share one sequence of passes; without, each begins a new
// pass, so that it shows no item twice before it has shown all.
func newPresentation(key rng.Key, n int, perTask int64, continuing bool) *presentation {
	p := &presentation{key: key, n: uint64(n), perTask: uint64(perTask)}
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

// testSize returns how many examples an inner stream holds back.
func testSize(s stream.Stream) int {
	if t, ok := s.(stream.Tester); ok {
		return t.TestSize()
	}
	return 0
}

// cycle exchanges the values at some places in a cycle: each gets that of the
// next.
func cycle(values, places []int32) {
	first := values[places[0]]
	for k := range len(places) - 1 {
		values[places[k]] = values[places[k+1]]
	}
	values[places[len(places)-1]] = first
}

// fraction returns a fraction of n, rounded.
func fraction(f float64, n int) int { return int(math.Floor(float64(f*float64(n)) + 0.5)) }
