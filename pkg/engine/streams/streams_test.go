package streams

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/datastore/datatest"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// synthetic is a source of n training images under the name mnist. No two are
// equal, every third pixel is dark, and image i has class i mod 10.
func synthetic(n int) data.Source {
	meta, _ := data.Lookup("mnist")
	return data.Static{"mnist": {Meta: meta, TrainSplit: noise(n, "pixels"), TestSplit: noise(25, "held out")}}
}

func noise(n int, purpose string) data.Split {
	d := data.Split{N: n, X: make([]uint8, n*784), Y: make([]uint8, n)}
	key := rng.New(1, purpose)
	for i := range n {
		d.Y[i] = uint8(i % 10)
		row := d.X[i*784 : (i+1)*784]
		for k := range row {
			if k%3 != 0 && k/100%2 == 0 {
				row[k] = uint8(1 + key.Intn(255, uint64(i), uint64(k)))
			}
		}
	}
	return d
}

// joint is a source of two datasets.
func joint(n int) data.Source {
	meta, _ := data.Lookup("fashion-mnist")
	s := synthetic(n).(data.Static)
	s["fashion-mnist"] = &data.Dataset{Meta: meta, TrainSplit: noise(n, "clothes"), TestSplit: noise(35, "held-out clothes")}
	return s
}

type object = map[string]any

// built is a stream with what its config says of it.
type built struct {
	stream.Stream
	info stream.Info
	src  *data.Dataset
	by   map[string]int // images by their bytes in ascending order
}

func build(t testing.TB, source data.Source, seed uint64, raw object) built {
	t.Helper()
	r, err := stream.Resolve("stream", raw)
	require.NoError(t, err)
	info, err := r.Config.(stream.Config).Info()
	require.NoError(t, err)
	s, err := r.Build(stream.Env{Data: source, Key: func(p string) rng.Key { return rng.New(seed, "stream/"+p) }})
	require.NoError(t, err)
	b := built{Stream: s, info: info, by: map[string]int{}}
	for _, name := range info.Datasets {
		b.src, err = source.Load(name)
		require.NoError(t, err)
	}
	return b
}

// task returns the examples of a task: inputs and labels or targets.
func (b built) task(t testing.TB, task int) (x [][]float32, y []float32) {
	t.Helper()
	require.NoError(t, b.Enter(task))
	batch := stream.NewBatch(b.info, b.info.Batch)
	for step := range b.info.StepsPerTask {
		b.Batch(step, batch)
		x, y = appendBatch(x, y, b.info, batch)
	}
	return x, y
}

func appendBatch(x [][]float32, y []float32, info stream.Info, b *stream.Batch) ([][]float32, []float32) {
	n := info.Input.Elems()
	for i := range b.N {
		x = append(x, slices.Clone(b.X[i*n:(i+1)*n]))
		if info.Classes > 0 {
			y = append(y, float32(b.Labels[i]))
		} else {
			y = append(y, b.Targets[i])
		}
	}
	return x, y
}

// find returns which training image has the given bytes in some order; -1 for
// none. The synthetic images are all different even so.
func (b built) find(bytes []uint8) int {
	if len(b.by) == 0 {
		for i := range b.src.TrainSplit.N {
			b.by[ascending(b.src.TrainSplit.X[i*784:(i+1)*784])] = i
		}
	}
	if i, ok := b.by[ascending(bytes)]; ok {
		return i
	}
	return -1
}

func ascending(bytes []uint8) string {
	sorted := slices.Clone(bytes)
	slices.Sort(sorted)
	return string(sorted)
}

// pixels undoes a scale.
func pixels(x []float32, scale func(float32) float64) []uint8 {
	out := make([]uint8, len(x))
	for i, v := range x {
		out[i] = uint8(math.Round(scale(v) * 255))
	}
	return out
}

func unit(v float32) float64 { return float64(v) }

// small is one configuration per stream and variant, a few examples long.
var small = map[string]object{
	"permuted":                 {"kind": "permuted", "tasks": 4.0, "examples_per_task": 30.0, "batch": 1.0},
	"permuted batch":           {"kind": "permuted", "tasks": 4.0, "examples_per_task": 100.0, "batch": 20.0, "scale": "symmetric", "first": "identity"},
	"permuted continuing":      {"kind": "permuted", "tasks": 4.0, "examples_per_task": 28.0, "batch": 4.0, "subset": 37.0, "order": "continuing"},
	"label-permuted":           {"kind": "label-permuted", "tasks": 4.0, "examples_per_task": 40.0, "batch": 2.0, "scale": "standard"},
	"random-label":             {"kind": "random-label", "tasks": 4.0, "examples": 20.0, "epochs": 3.0, "batch": 5.0},
	"split":                    {"kind": "split", "tasks": 7.0, "examples_per_class": 4.0, "epochs": 2.0, "batch": 4.0},
	"permuted heads":           {"kind": "permuted", "tasks": 4.0, "examples_per_task": 30.0, "batch": 3.0, "heads": 3.0},
	"label-permuted heads":     {"kind": "label-permuted", "tasks": 4.0, "examples_per_task": 40.0, "batch": 2.0, "heads": 2.0},
	"split per task":           {"kind": "split", "tasks": 4.0, "classes_per_task": 5.0, "examples_per_class": 2.0, "batch": 5.0, "head": "per-task", "class_order": "seeded"},
	"split base":               {"kind": "split", "tasks": 7.0, "dataset": "fashion-mnist+mnist", "base": 10.0, "examples_per_class": 3.0, "epochs": 2.0, "batch": 6.0},
	"split shared":             {"kind": "split", "tasks": 4.0, "classes_per_task": 5.0, "examples_per_class": 2.0, "batch": 5.0, "head": "shared", "class_order": "seeded"},
	"permuted slowly":          {"kind": "permuted", "tasks": 4.0, "examples_per_task": 30.0, "change": 0.1, "square": 20.0},
	"permuted ramp":            {"kind": "permuted", "tasks": 4.0, "examples_per_task": 40.0, "batch": 4.0, "ramp": 0.5},
	"label-permuted slowly":    {"kind": "label-permuted", "tasks": 4.0, "examples_per_task": 40.0, "change": 0.3, "first": "identity"},
	"random-label slowly":      {"kind": "random-label", "tasks": 4.0, "examples": 20.0, "epochs": 3.0, "batch": 5.0, "change": 0.3},
	"rotated":                  {"kind": "rotated", "tasks": 4.0, "examples_per_task": 30.0, "heads": 3.0},
	"rotated linear":           {"kind": "rotated", "tasks": 4.0, "examples_per_task": 30.0, "angles": "linear", "degrees": 30.0, "scale": "standard"},
	"label-swap":               {"kind": "label-swap", "tasks": 5.0, "examples_per_task": 30.0, "batch": 5.0, "swaps": []any{0.0, 7.0, 30.0}},
	"images":                   {"kind": "images", "tasks": 4.0, "subset": 40.0, "batch": 3.0, "noise": 0.2, "remove": 0.2},
	"blurry":                   {"kind": "blurry", "tasks": 4.0, "of": object{"kind": "permuted", "examples_per_task": 30.0, "batch": 5.0}},
	"blurry constant":          {"kind": "blurry", "tasks": 4.0, "width": 1.0, "shape": "constant", "of": object{"kind": "bit-flip-regression", "examples_per_task": 20.0}},
	"noise":                    {"kind": "noise", "tasks": 4.0, "inputs": 0.5, "labels": 0.5, "of": object{"kind": "permuted", "examples_per_task": 30.0, "batch": 5.0, "heads": 2.0}},
	"noise of examples":        {"kind": "noise", "tasks": 4.0, "inputs": 0.5, "labels": 0.5, "draw": "example", "of": object{"kind": "split", "examples_per_class": 6.0, "batch": 4.0}},
	"noise on targets":         {"kind": "noise", "tasks": 4.0, "targets": 0.5, "of": object{"kind": "bit-flip-regression", "examples_per_task": 20.0}},
	"split sizes":              {"kind": "split", "tasks": 4.0, "sizes": []any{3.0, 1.0, 2.0}, "classes": []any{7.0, 2.0, 9.0, 0.0, 4.0, 1.0}, "examples_per_class": 4.0, "batch": 4.0},
	"revisits":                 {"kind": "revisits", "tasks": 4.0, "share": 0.5, "of": object{"kind": "split", "examples_per_class": 6.0, "batch": 4.0}},
	"revisits uniformly":       {"kind": "revisits", "tasks": 4.0, "share": 0.5, "law": "uniform", "of": object{"kind": "bit-flip-regression", "examples_per_task": 20.0}},
	"sine":                     {"kind": "sine", "tasks": 4.0, "examples_per_task": 30.0, "intervals": 3.0, "batch": 2.0},
	"sine random":              {"kind": "sine", "tasks": 4.0, "examples_per_task": 30.0, "order": "random"},
	"teacher-student":          {"kind": "teacher-student", "tasks": 4.0, "examples_per_task": 20.0, "epochs": 2.0, "inputs": 31.0, "overlap": 0.5},
	"teacher-student sign":     {"kind": "teacher-student", "tasks": 4.0, "examples_per_task": 20.0, "batch": 4.0, "inputs": 31.0, "answer": "sign"},
	"bit-flip-regression":      {"kind": "bit-flip-regression", "tasks": 4.0, "examples_per_task": 20.0},
	"bit-flip-regression all":  {"kind": "bit-flip-regression", "tasks": 4.0, "examples_per_task": 20.0, "batch": 5.0, "flip": "all", "bits": 64.0, "slow_bits": 60.0},
	"bit-flip-regression same": {"kind": "bit-flip-regression", "tasks": 4.0, "examples_per_task": 20.0, "slow_bits": 20.0, "threshold": "paper"},
}

// mixed are those whose samples are of the task alone, while in training other
// tasks have a part in it.
var mixed = map[string]bool{
	"permuted ramp": true, "blurry": true, "blurry constant": true, "noise": true, "noise of examples": true, "noise on targets": true, "revisits": true, "revisits uniformly": true,
}

func TestEveryStreamIsAFunctionOfSeedTaskAndStep(t *testing.T) {
	source := joint(60)
	kinds := map[string]bool{}
	for name, raw := range small {
		kinds[raw["kind"].(string)] = true
		t.Run(name, func(t *testing.T) {
			s := build(t, source, 7, raw)
			tasks := int(raw["tasks"].(float64))
			var xs [][][]float32
			var ys [][]float32
			for task := range tasks {
				x, y := s.task(t, task)
				xs, ys = append(xs, x), append(ys, y)
			}

			longer := object{}
			for k, v := range raw {
				longer[k] = v
			}
			longer["tasks"] = raw["tasks"].(float64) + 3
			for what, again := range map[string]built{
				"same":   build(t, source, 7, raw),
				"longer": build(t, source, 7, longer),
			} {
				for task := tasks - 1; task >= 0; task-- { // in another order
					x, y := again.task(t, task)
					require.Equal(t, xs[task], x, "%s: inputs of task %d", what, task)
					require.Equal(t, ys[task], y, "%s: answers of task %d", what, task)
				}
			}
			other := build(t, source, 8, raw)
			x, y := other.task(t, 0)
			require.Equal(t, name == "sine", fmt.Sprint(xs[0], ys[0]) == fmt.Sprint(x, y), "another seed shows the same first task only where nothing is random")

			// Steps in any order, and measurements in between, change nothing.
			n := s.info.Batch
			require.NoError(t, s.Enter(1))
			batch, sample := stream.NewBatch(s.info, n), stream.NewBatch(s.info, 10)
			for step := s.info.StepsPerTask - 1; step >= 0; step-- {
				s.Batch(step, batch)
				gx, gy := appendBatch(nil, nil, s.info, batch)
				require.Equal(t, xs[1][int(step)*n:int(step+1)*n], gx)
				require.Equal(t, ys[1][int(step)*n:int(step+1)*n], gy)
				s.Sample(sample)
				if mixed[name] {
					continue
				}
				gx, gy = appendBatch(nil, nil, s.info, sample)
				require.Equal(t, xs[1][:10], gx, "a sample is the first examples of the task")
				require.Equal(t, ys[1][:10], gy)
			}
			if mixed[name] {
				return
			}
			all := stream.NewBatch(s.info, len(xs[1])+3)
			s.Sample(all)
			gx, gy := appendBatch(nil, nil, s.info, all)
			require.Equal(t, append(slices.Clone(xs[1]), xs[1][:3]...), gx, "a sample larger than the task goes round")
			require.Equal(t, append(slices.Clone(ys[1]), ys[1][:3]...), gy)
		})
	}
	for _, d := range component.All() {
		if d.Kind == "stream" {
			require.True(t, kinds[d.Name], "stream %s is not among the tested ones", d.Name)
		}
	}
}

func TestBatchDoesNotAllocate(t *testing.T) {
	source := joint(60)
	for name, raw := range small {
		s := build(t, source, 7, raw)
		require.NoError(t, s.Enter(1))
		batch, sample := stream.NewBatch(s.info, s.info.Batch), stream.NewBatch(s.info, 10)
		s.Batch(0, batch)
		s.Sample(sample)
		step := int64(0)
		require.Zero(t, testing.AllocsPerRun(200, func() {
			s.Batch(step%s.info.StepsPerTask, batch)
			s.Sample(sample)
			step++
		}), name)
	}
}

func TestPermutedShowsEveryImageOncePerPass(t *testing.T) {
	source := synthetic(60)
	raw := object{"kind": "permuted", "tasks": 3.0, "examples_per_task": 120.0, "batch": 8.0}
	s := build(t, source, 3, raw)
	var orders [][]int
	for task := range 3 {
		x, y := s.task(t, task)
		var order []int
		for i, row := range x {
			image := s.find(pixels(row, unit))
			require.GreaterOrEqual(t, image, 0, "example %d is no image with its pixels permuted", i)
			require.Equal(t, float32(s.src.TrainSplit.Y[image]), y[i], "label of image %d", image)
			order = append(order, image)
		}
		first, second := order[:60], order[60:]
		require.Len(t, set(first), 60, "an image comes twice in one pass")
		require.Len(t, set(second), 60)
		require.NotEqual(t, first, second, "every pass has an order of its own")
		orders = append(orders, order)
	}
	require.NotEqual(t, orders[0], orders[1], "every task has an order of its own")
}

func set(xs []int) map[int]bool {
	m := map[int]bool{}
	for _, x := range xs {
		m[x] = true
	}
	return m
}

// positions returns where each pixel of a dataset of one-pixel images goes to
// in a task: image i is bright at pixel i only.
func positions(t *testing.T, s built, task int) []int {
	t.Helper()
	to := make([]int, 784)
	for i := range to {
		to[i] = -1
	}
	x, y := s.task(t, task)
	for i, row := range x {
		at := -1
		for k, v := range row {
			if v == 1 {
				require.Equal(t, -1, at, "two bright inputs")
				at = k
			} else {
				require.Zero(t, v)
			}
		}
		// Image k has label k mod 10 and brightness 255 at pixel k; which it is
		// follows from the order of the stream under test.
		image := s.Stream.(*permuted).order.train(int64(i))
		require.Equal(t, float32(image%10), y[i])
		to[s.Stream.(*permuted).chosen[image]] = at
	}
	return to
}

func TestPermutationsArePermutationsAndIndependent(t *testing.T) {
	meta, _ := data.Lookup("mnist")
	d := &data.Dataset{Meta: meta, TrainSplit: data.Split{N: 784, X: make([]uint8, 784*784), Y: make([]uint8, 784)}}
	for i := range 784 {
		d.TrainSplit.X[i*784+i] = 255
		d.TrainSplit.Y[i] = uint8(i % 10)
	}
	source := data.Static{"mnist": d}
	s := build(t, source, 11, object{"kind": "permuted", "tasks": 5.0, "examples_per_task": 784.0, "first": "identity"})
	var all [][]int
	for task := range 5 {
		to := positions(t, s, task)
		require.ElementsMatch(t, identity(784), to, "task %d: not a permutation", task)
		all = append(all, to)
	}
	require.Equal(t, identity(784), all[0], "the first task shows images as they are")
	for i := range all {
		for j := range i {
			same := 0
			for k := range 784 {
				if all[i][k] == all[j][k] {
					same++
				}
			}
			require.Less(t, same, 8, "tasks %d and %d: %d pixels at the same place (Poisson of mean 1)", i, j, same)
		}
	}
	permutedFirst := build(t, source, 11, object{"kind": "permuted", "tasks": 5.0, "examples_per_task": 784.0})
	require.NotEqual(t, identity(784), positions(t, permutedFirst, 0))
	require.Equal(t, all[1], positions(t, permutedFirst, 1), "first changes the first task only")
}

func identity(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	return p
}

func TestPermutedSubsetAndContinuingOrder(t *testing.T) {
	s := build(t, synthetic(60), 5, object{"kind": "permuted", "tasks": 6.0, "examples_per_task": 20.0, "subset": 40.0, "order": "continuing"})
	fresh := build(t, synthetic(60), 5, object{"kind": "permuted", "tasks": 6.0, "examples_per_task": 20.0, "subset": 40.0})
	var seen []int
	images := map[int]bool{}
	for task := range 6 {
		x, _ := s.task(t, task)
		for _, row := range x {
			seen = append(seen, s.find(pixels(row, unit)))
		}
	}
	for pass := range 3 {
		require.Len(t, set(seen[pass*40:(pass+1)*40]), 40, "pass %d goes on over the tasks' ends", pass)
	}
	for _, i := range seen {
		images[i] = true
	}
	require.Len(t, images, 40)
	x, _ := fresh.task(t, 1)
	repeated := 0
	first := set(seen[:20])
	for _, row := range x {
		image := fresh.find(pixels(row, unit))
		require.True(t, images[image], "the subset is the same for both orders")
		if first[image] {
			repeated++
		}
	}
	require.NotZero(t, repeated, "a fresh task takes from all images again")
}

func TestScales(t *testing.T) {
	source := synthetic(60)
	d, err := source.Load("mnist")
	require.NoError(t, err)
	var sum, squares float64
	for _, p := range d.TrainSplit.X {
		sum += float64(p) / 255
	}
	mean := sum / float64(len(d.TrainSplit.X))
	for _, p := range d.TrainSplit.X {
		squares += (float64(p)/255 - mean) * (float64(p)/255 - mean)
	}
	deviation := math.Sqrt(squares / float64(len(d.TrainSplit.X)))
	for scale, undo := range map[string]func(float32) float64{
		"unit":      unit,
		"symmetric": func(v float32) float64 { return (float64(v) + 1) / 2 },
		"standard":  func(v float32) float64 { return float64(v)*deviation + mean },
	} {
		s := build(t, source, 5, object{"kind": "label-permuted", "tasks": 2.0, "examples_per_task": 60.0, "scale": scale})
		x, _ := s.task(t, 1)
		for i, row := range x {
			require.GreaterOrEqual(t, s.find(pixels(row, undo)), 0, "%s: example %d", scale, i)
			for _, v := range row {
				require.InDelta(t, math.Round(undo(v)*255), undo(v)*255, 1e-4, scale)
			}
		}
	}
	mean, deviation = data.Moments([]uint8{7, 7, 7})
	require.InDelta(t, 7./255, mean, 1e-15)
	require.Equal(t, 1.0, deviation, "one colour only")
}

func TestLabelPermutedRenamesClasses(t *testing.T) {
	s := build(t, synthetic(60), 5, object{"kind": "label-permuted", "tasks": 4.0, "examples_per_task": 60.0, "scale": "unit", "first": "identity"})
	var before map[uint8]float32
	for task := range 4 {
		x, y := s.task(t, task)
		names := map[uint8]float32{}
		used := map[float32]bool{}
		for i, row := range x {
			require.Equal(t, row, input(s, pixels(row, unit)), "pixels stay where they are")
			class := s.src.TrainSplit.Y[s.find(pixels(row, unit))]
			if name, known := names[class]; known {
				require.Equal(t, name, y[i])
			}
			names[class] = y[i]
			used[y[i]] = true
		}
		require.Len(t, used, 10, "two classes share a label")
		if task == 0 {
			for class, name := range names {
				require.Equal(t, float32(class), name)
			}
		} else {
			require.NotEqual(t, before, names)
		}
		before = names
	}
}

// input is an image of the dataset as it is, found by its bytes in order.
func input(s built, bytes []uint8) []float32 {
	image := s.find(bytes)
	out := make([]float32, 784)
	for i, p := range s.src.TrainSplit.X[image*784 : (image+1)*784] {
		out[i] = float32(float64(p) / 255)
	}
	return out
}

func TestRandomLabelsStayForATaskAndAreUniform(t *testing.T) {
	s := build(t, synthetic(60), 5, object{"kind": "random-label", "tasks": 100.0, "examples": 30.0, "epochs": 2.0, "batch": 10.0})
	count := map[float32]int{}
	var images map[int]bool
	changed := 0
	last := map[int]float32{}
	for task := range 100 {
		x, y := s.task(t, task)
		label := map[int]float32{}
		for i, row := range x {
			image := s.find(pixels(row, unit))
			if i >= 30 {
				require.Equal(t, label[image], y[i], "a label changed within the task")
				continue
			}
			label[image] = y[i]
			count[y[i]]++
			if last[image] != y[i] {
				changed++
			}
		}
		require.Len(t, label, 30, "a pass shows every image once")
		now := map[int]bool{}
		for image := range label {
			now[image] = true
		}
		if images == nil {
			images = now
		}
		require.Equal(t, images, now, "the images are fixed")
		last = label
	}
	require.Len(t, count, 10)
	for label, n := range count {
		require.InDelta(t, 300, n, 85, "label %v: 5 deviations of a binomial", label)
	}
	require.InDelta(t, 2700, changed, 90, "labels of tasks are independent: 9 of 10 change")
}

func TestMistakesNameTheField(t *testing.T) {
	for _, c := range []struct {
		raw   string
		field string
	}{
		{`{"kind": "permuted", "dataset": "mnits"}`, "stream.dataset"},
		{`{"kind": "permuted", "subset": 60001}`, "stream.subset"},
		{`{"kind": "permuted", "subset": -1}`, "stream.subset"},
		{`{"kind": "permuted", "tasks": 0}`, "stream.tasks"},
		{`{"kind": "permuted", "examples_per_task": 10, "batch": 3}`, "stream.batch"},
		{`{"kind": "permuted", "scale": "big"}`, "stream.scale"},
		{`{"kind": "label-permuted", "dataset": ""}`, "stream.dataset"},
		{`{"kind": "random-label", "examples": 0}`, "stream.examples"},
		{`{"kind": "random-label", "examples": 70000, "batch": 1}`, "stream.examples"},
		{`{"kind": "random-label", "epochs": 0}`, "stream.epochs"},
		{`{"kind": "random-label", "epochs": 16777216, "tasks": 16777216}`, "stream.tasks"},
		{`{"kind": "split", "classes_per_task": 3}`, "stream.classes_per_task"},
		{`{"kind": "split", "classes_per_task": 0}`, "stream.classes_per_task"},
		{`{"kind": "split", "base": 11}`, "stream.base"},
		{`{"kind": "split", "base": 3}`, "stream.classes_per_task"},
		{`{"kind": "split", "base": 4, "head": "per-task"}`, "stream.head"},
		{`{"kind": "split", "dataset": "mnist+emnist"}`, "stream.dataset"},
		{`{"kind": "permuted", "heads": -1}`, "stream.heads"},
		{`{"kind": "split", "examples_per_class": 60001, "batch": 2}`, "stream.examples_per_class"},
		{`{"kind": "split", "examples_per_class": 0}`, "stream.examples_per_class"},
		{`{"kind": "bit-flip-regression", "bits": 65}`, "stream.bits"},
		{`{"kind": "bit-flip-regression", "slow_bits": 21}`, "stream.slow_bits"},
		{`{"kind": "bit-flip-regression", "beta": 2}`, "stream.beta"},
		{`{"kind": "bit-flip-regression", "target_units": 0}`, "stream.target_units"},
	} {
		raw := object{}
		require.NoError(t, json.Unmarshal([]byte(c.raw), &raw))
		_, err := stream.Resolve("stream", raw)
		var fields []string
		for _, f := range component.FieldErrors(err) {
			fields = append(fields, f.Field)
		}
		require.Equal(t, []string{c.field}, fields, "%s: %v", c.raw, err)
	}
}

func TestTooFewImagesAreAnErrorAtBuild(t *testing.T) {
	for _, raw := range []object{
		{"kind": "permuted", "subset": 61.0},
		{"kind": "label-permuted", "subset": 61.0},
		{"kind": "random-label", "examples": 64.0},
		{"kind": "split", "examples_per_class": 7.0, "batch": 1.0},
	} {
		r, err := stream.Resolve("stream", raw)
		require.NoError(t, err)
		_, err = r.Build(stream.Env{Data: synthetic(60), Key: func(p string) rng.Key { return rng.New(0, p) }})
		require.ErrorContains(t, err, "training examples")
		_, err = r.Build(stream.Env{Data: data.Static{}, Key: func(p string) rng.Key { return rng.New(0, p) }})
		require.ErrorIs(t, err, data.ErrUnknown)
	}
}

func TestRealMNIST(t *testing.T) {
	source := datatest.MNIST(t)
	s := build(t, source, 2, object{"kind": "permuted", "scale": "standard"})
	d, err := source.Load("mnist")
	require.NoError(t, err)
	mean, deviation := data.Moments(d.TrainSplit.X)
	require.InDelta(t, 0.1307, mean, 5e-5, "the published mean of MNIST")
	require.InDelta(t, 0.3081, deviation, 5e-5, "the published deviation of MNIST")

	require.NoError(t, s.Enter(3))
	p := s.Stream.(*permuted)
	batch := stream.NewBatch(s.info, 1)
	seen := make([]bool, 60000)
	for step := range s.info.StepsPerTask {
		image := p.chosen[p.order.train(step)]
		require.False(t, seen[image], "image %d twice", image)
		seen[image] = true
		if step%97 != 0 {
			continue
		}
		s.Batch(step, batch)
		require.Equal(t, int32(d.TrainSplit.Y[image]), batch.Labels[0])
		want := slices.Sorted(slices.Values(d.TrainSplit.X[int(image)*784 : int(image+1)*784]))
		got := slices.Sorted(slices.Values(pixels(batch.X, func(v float32) float64 { return float64(v)*deviation + mean })))
		require.Equal(t, want, got, "pixels of image %d", image)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { s.Batch(5, batch) }))
}

func BenchmarkPermutedBatch1(b *testing.B) {
	s := build(b, datatest.MNIST(b), 2, object{"kind": "permuted"})
	require.NoError(b, s.Enter(0))
	batch := stream.NewBatch(s.info, 1)
	s.Batch(0, batch)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		s.Batch(int64(i)%60000, batch)
	}
}

// TestHeldOutExamplesGoThroughTheTask holds back the very images that are
// trained on: in every task they must come out the same, under the same labels.
func TestHeldOutExamplesGoThroughTheTask(t *testing.T) {
	source := joint(60).(data.Static)
	for _, d := range source {
		d.TestSplit = d.TrainSplit
	}
	tested := 0
	for name, raw := range small {
		t.Run(name, func(t *testing.T) {
			s := build(t, source, 7, raw)
			tester, ok := s.Stream.(stream.Tester)
			if !ok {
				return
			}
			n := s.info.Input.Elems()
			for task := range s.info.Tasks {
				require.NoError(t, s.Enter(task))
				first, size := s.info.HeadOf(task)
				if raw["kind"] == "teacher-student" || raw["kind"] == "sine" {
					return // held-out examples are none of the training's
				}
				if tester.TestSize() == 0 && (raw["kind"] == "blurry" || raw["kind"] == "noise") || raw["kind"] == "revisits" {
					return
				}
				if raw["kind"] == "random-label" {
					require.Zero(t, tester.TestSize(), "random labels carry no information about other images")
					return
				}
				tested++
				held := stream.NewBatch(s.info, tester.TestSize()+2)
				tester.Test(1, held)
				byImage := map[string]int32{}
				labels := map[int32]bool{}
				for i := range held.N {
					require.Equal(t, int32(-1), held.Index[i])
					row := fmt.Sprint(held.X[i*n : (i+1)*n])
					if i < tester.TestSize() {
						byImage[row] = held.Labels[i]
						labels[held.Labels[i]] = true
					} else { // the last one before these is number 0
						require.Equal(t, fmt.Sprint(held.X[(i-tester.TestSize())*n:(i-tester.TestSize()+1)*n]), row, "behind the last comes the first")
					}
				}
				require.Len(t, byImage, tester.TestSize())
				sample := stream.NewBatch(s.info, 60)
				s.Sample(sample)
				shown := map[int32]bool{}
				for i := range sample.N {
					label, ok := byImage[fmt.Sprint(sample.X[i*n:(i+1)*n])]
					require.True(t, ok, "task %d: example %d has another input as a held-out one", task, i)
					if raw["kind"] != "label-swap" && raw["noise"] == nil { // they have labels of their own in training
						require.Equal(t, sample.Labels[i], label)
					}
					require.GreaterOrEqual(t, label, int32(first))
					require.Less(t, label, int32(first+size), "a label of another task's head")
					require.Less(t, int(sample.Index[i]), s.info.Examples)
					shown[label] = true
				}
				if raw["kind"] == "split" {
					require.Equal(t, shown, labels, "task %d: held-out examples are of the task's classes", task)
				}
			}
		})
	}
	require.Greater(t, tested, 20)
}

func TestIndexNumbersTheImages(t *testing.T) {
	source := joint(60)
	s := build(t, source, 7, object{"kind": "split", "dataset": "fashion-mnist+mnist", "classes_per_task": 5.0, "examples_per_class": 4.0, "tasks": 4.0, "batch": 1.0})
	require.Equal(t, 120000, s.info.Examples)
	require.Equal(t, 20, s.info.Classes)
	b := stream.NewBatch(s.info, 1)
	for task := range 4 {
		require.NoError(t, s.Enter(task))
		for step := range s.info.StepsPerTask {
			s.Batch(step, b)
			name, i, class := "fashion-mnist", int(b.Index[0]), 0
			if i >= 60 {
				name, i, class = "mnist", i-60, 10
			}
			d, err := source.Load(name)
			require.NoError(t, err)
			require.Equal(t, d.TrainSplit.X[i*784:(i+1)*784], pixels(b.X, unit))
			require.Equal(t, int32(class)+int32(d.TrainSplit.Y[i]), b.Labels[0])
		}
	}
}

func TestHeadsComeRoundAgain(t *testing.T) {
	s := build(t, synthetic(60), 7, object{"kind": "permuted", "tasks": 7.0, "examples_per_task": 60.0, "heads": 3.0})
	require.Equal(t, 30, s.info.Outputs)
	require.Equal(t, 30, s.info.Classes)
	require.Equal(t, 10, s.info.Head)
	shared := build(t, synthetic(60), 7, object{"kind": "permuted", "tasks": 7.0, "examples_per_task": 60.0})
	for task := range 7 {
		x, y := s.task(t, task)
		x2, y2 := shared.task(t, task)
		require.Equal(t, x2, x)
		for i := range y {
			require.Equal(t, y2[i]+float32(10*(task%3)), y[i])
		}
	}
	per := build(t, synthetic(60), 7, object{"kind": "split", "examples_per_class": 2.0, "batch": 2.0, "head": "per-task"})
	require.Equal(t, 10, per.info.Outputs)
	require.Equal(t, 2, per.info.Head)
}
