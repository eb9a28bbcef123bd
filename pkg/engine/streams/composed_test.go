package streams

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// labelled is an inner stream whose x identifies the task: task k of 64 has x in
// [k/32, (k+1)/32).
func labelled(n float64) object {
	return object{"kind": "sine", "examples_per_task": n, "intervals": 64.0, "tasks": 1.0}
}

func taskOf(x float32) int { return int(float64(x)*32 + 1e-5) }

func TestBlurryExchangesExamplesAcrossBoundaries(t *testing.T) {
	const n = 4000
	for _, width := range []float64{0, 0.5, 1} {
		for _, shape := range []string{"linear", "constant"} {
			s := build(t, nil, 5, object{"kind": "blurry", "tasks": 6.0, "width": width, "shape": shape, "of": labelled(n)})
			require.Equal(t, int64(n), s.info.StepsPerTask)
			count := map[float32]int{}
			half := int(width * n / 2)
			near, far, inside := 0, 0, 0 // examples of another task by where they are shown
			for task := range 6 {
				x, y := s.task(t, task)
				for i, row := range x {
					count[row[0]]++
					require.InDelta(t, math.Sin(math.Pi*float64(row[0])), y[i], 1e-6, "the answer has come along")
					switch shown := taskOf(row[0]); shown {
					case task:
					case task - 1:
						require.Less(t, i, half)
						inside++
						if i < half/2 {
							near++
						} else {
							far++
						}
					case task + 1:
						require.GreaterOrEqual(t, i, n-half)
						if task < 5 {
							inside++
						}
					default:
						require.Fail(t, "an example of a task further away")
					}
				}
			}
			for x, c := range count {
				require.Equal(t, 1, c, "x = %v is shown twice", x)
			}
			for task := range 5 {
				for i := range n {
					x := float32(2 * (float64(task) + float64(i)/n) / 64)
					require.Equal(t, 1, count[x], "an example of task %d is lost", task)
				}
			}
			// Five boundaries, two sides, half examples each, with a mean share of 1/4 or 1/2.
			share := 0.25
			if shape == "constant" {
				share = 0.5
			}
			require.InDelta(t, 10*float64(half)*share, inside, 5*math.Sqrt(20*float64(half)*share)+1e-9)
			if shape == "linear" && half > 0 { // 3/8 and 1/8 of them
				require.InDelta(t, 3, float64(near)/float64(far), 0.6)
			}
		}
	}
}

func TestRevisitsFollowTheLaw(t *testing.T) {
	const n = 20000
	for law, weight := range map[string]func(age float64) float64{
		"power":       func(age float64) float64 { return math.Pow(age, -1.5) },
		"exponential": func(age float64) float64 { return math.Exp(-1.5 * age) },
		"uniform":     func(float64) float64 { return 1 },
	} {
		s := build(t, nil, 5, object{"kind": "revisits", "tasks": 6.0, "share": 0.4, "law": law, "alpha": 1.5, "of": labelled(n)})
		pure := build(t, nil, 5, labelled(n))
		for _, task := range []int{0, 1, 5} {
			x, _ := s.task(t, task)
			count := make([]float64, task+1)
			for i, row := range x {
				k := taskOf(row[0])
				count[k]++
				if i%1000 == 0 {
					require.NoError(t, pure.Enter(k))
					b := stream.NewBatch(pure.info, 1)
					pure.Batch(int64(i), b)
					require.Equal(t, b.X[0], row[0], "an old task's example of the same number")
				}
			}
			if task == 0 {
				require.Equal(t, []float64{n}, count)
				continue
			}
			require.InDelta(t, 0.6*n, count[task], 5*math.Sqrt(0.24*n))
			sum := 0.0
			for i := range task {
				sum += weight(float64(task - i))
			}
			for i := range task {
				p := 0.4 * weight(float64(task-i)) / sum
				require.InDelta(t, p*n, count[i], 5*math.Sqrt(p*n), "%s: task %d seen from task %d", law, i, task)
			}
		}
	}
}

func TestInnerStreamsAreChecked(t *testing.T) {
	for raw, field := range map[string]string{
		`{"kind": "blurry", "of": {"kind": "permuted", "heads": 3}}`:                                   "stream.of",
		`{"kind": "blurry", "of": {"kind": "permuted", "batch": 7}}`:                                   "stream.of.batch",
		`{"kind": "blurry", "of": "permutedd"}`:                                                        "stream.of",
		`{"kind": "blurry", "width": 1.5}`:                                                             "stream.width",
		`{"kind": "revisits", "tasks": 5000}`:                                                          "stream.tasks",
		`{"kind": "revisits", "share": -0.5}`:                                                          "stream.share",
		`{"kind": "revisits", "of": {"kind": "split", "head": "per-task"}}`:                            "stream.of",
		`{"kind": "rotated", "degrees": 361}`:                                                          "stream.degrees",
		`{"kind": "permuted", "change": 1.1}`:                                                          "stream.change",
		`{"kind": "permuted", "ramp": -1}`:                                                             "stream.ramp",
		`{"kind": "permuted", "square": 29}`:                                                           "stream.square",
		`{"kind": "label-swap", "swaps": []}`:                                                          "stream.swaps",
		`{"kind": "label-swap", "swaps": [-1]}`:                                                        "stream.swaps",
		`{"kind": "images", "remove": 1}`:                                                              "stream.remove",
		`{"kind": "images", "noise": 2}`:                                                               "stream.noise",
		`{"kind": "images", "subset": 10}`:                                                             "stream.batch",
		`{"kind": "sine", "intervals": 0}`:                                                             "stream.intervals",
		`{"kind": "teacher-student", "overlap": 2}`:                                                    "stream.overlap",
		`{"kind": "random-label", "change": 3}`:                                                        "stream.change",
		`{"kind": "blurry", "tasks": 16777216, "of": {"kind": "sine", "examples_per_task": 16777216}}`: "stream.tasks",
	} {
		var o object
		require.NoError(t, json.Unmarshal([]byte(raw), &o))
		_, err := stream.Resolve("stream", o)
		fields := component.FieldErrors(err)
		require.Len(t, fields, 1, "%s: %v", raw, err)
		require.Equal(t, field, fields[0].Field, raw)
	}
}

// TestLabelSwapAgainstTheAuthorsLoop counts examples and swaps as the authors'
// code does: after every batch, where the count is a multiple of examples/swaps.
func TestLabelSwapAgainstTheAuthorsLoop(t *testing.T) {
	const n, batch, tasks = 60, 5, 6
	swaps := []int{0, 1, 4, 12}
	s := build(t, synthetic(n), 5, object{"kind": "label-swap", "tasks": float64(tasks), "examples_per_task": float64(n), "batch": float64(batch), "swaps": []any{0.0, 1.0, 4.0, 12.0}})
	key := rng.New(5, "stream/swap")
	labels := []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	number := uint64(0)
	b := stream.NewBatch(s.info, batch)
	held := stream.NewBatch(s.info, 25)
	for task := range tasks {
		require.NoError(t, s.Enter(task))
		perTask := swaps[task%4]
		for step := range int64(n / batch) {
			s.Batch(step, b)
			for i := range batch {
				require.Equal(t, labels[s.src.TrainSplit.Y[b.Index[i]]], b.Labels[i], "task %d step %d", task, step)
			}
			for i := range n {
				require.Equal(t, labels[s.src.TrainSplit.Y[i]], s.Stream.(stream.Relabeler).Label(step*batch, int32(i)))
			}
			if step == n/batch-1 {
				s.Test(held)
				for i := range 25 {
					require.Equal(t, labels[s.src.TestSplit.Y[i]], held.Labels[i])
				}
			}
			if seen := int(step+1) * batch; perTask != 0 && seen%(n/perTask) == 0 {
				one := int32(key.Intn(10, number, 0))
				other := int32(key.Intn(9, number, 1))
				if other >= one {
					other++
				}
				i, j := slices.Index(labels, one), slices.Index(labels, other)
				labels[i], labels[j] = labels[j], labels[i]
				number++
			}
		}
	}
	require.Equal(t, uint64(0+1+4+12+0+1), number)
}

// Test fills a batch with the first held-out examples.
func (b built) Test(batch *stream.Batch) { b.Stream.(stream.Tester).Test(0, batch) }

func TestImagesAreTheSameInEveryEpoch(t *testing.T) {
	source := synthetic(60)
	show := func(raw object) (epochs [][]int32, label map[int32]int32, s built) {
		s = build(t, source, 5, raw)
		label = map[int32]int32{}
		b := stream.NewBatch(s.info, s.info.Batch)
		for task := range s.info.Tasks {
			require.NoError(t, s.Enter(task))
			var order []int32
			for step := range s.info.StepsPerTask {
				s.Batch(step, b)
				order = append(order, b.Index...)
				for i, image := range b.Index {
					if have, ok := label[image]; ok {
						require.Equal(t, have, b.Labels[i], "the label of an image changes")
					}
					label[image] = b.Labels[i]
				}
			}
			epochs = append(epochs, order)
		}
		return epochs, label, s
	}
	full := object{"kind": "images", "tasks": 3.0, "batch": 4.0, "subset": 60.0, "noise": 0.25}
	epochs, noisy, s := show(full)
	require.Len(t, noisy, 60)
	wrong := map[int32]bool{}
	for image, y := range noisy {
		if y != int32(s.src.TrainSplit.Y[image]) {
			wrong[image] = true
		}
	}
	require.Len(t, wrong, 15, "a quarter of the labels is wrong")
	for i := range epochs {
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(epochs[i]))), 60)
		require.NotEqual(t, epochs[0], epochs[(i+1)%3][:1])
	}
	require.NotEqual(t, epochs[0], epochs[1])

	full["remove"] = 0.4
	_, fewer, _ := show(full)
	require.Len(t, fewer, 36)
	for image, y := range fewer {
		require.Equal(t, noisy[image], y, "which labels are wrong does not depend on what is left out")
	}
	full["remove"], full["subset"] = 0.0, 30.0
	epochs, some, odd := show(full)
	require.Equal(t, int64(7), odd.info.StepsPerTask)
	require.Len(t, epochs[0], 28, "the last 2 of 30 make no batch")
	require.LessOrEqual(t, len(some), 30)

	r, err := stream.Resolve("stream", object{"kind": "images"})
	require.NoError(t, err)
	_, err = r.Build(stream.Env{Data: source, Key: func(p string) rng.Key { return rng.New(0, p) }})
	require.ErrorContains(t, err, "training examples")
	_, err = r.Build(stream.Env{Data: data.Static{}, Key: func(p string) rng.Key { return rng.New(0, p) }})
	require.ErrorIs(t, err, data.ErrUnknown)
}

func TestSineRunsThroughItsDomain(t *testing.T) {
	s := build(t, nil, 5, object{"kind": "sine", "examples_per_task": 200.0})
	x, y := s.task(t, 0)
	for i := range 200 {
		require.InDelta(t, float64(i)/100, x[i][0], 1e-7)
		require.InDelta(t, math.Sin(math.Pi*float64(i)/100), y[i], 1e-7)
	}
	held := stream.NewBatch(s.info, 1000)
	s.Test(held)
	for i := range 1000 {
		require.InDelta(t, (float64(i)+0.5)/500, held.X[i], 1e-6)
		require.InDelta(t, math.Sin(math.Pi*(float64(i)+0.5)/500), held.Targets[i], 1e-6)
	}
	cut := build(t, nil, 5, object{"kind": "sine", "examples_per_task": 40.0, "intervals": 5.0, "tasks": 7.0, "order": "random"})
	for task := range 7 {
		got, _ := cut.task(t, task)
		var sorted []float64
		for _, row := range got {
			sorted = append(sorted, float64(row[0]))
		}
		require.False(t, slices.IsSorted(sorted))
		slices.Sort(sorted)
		for i, v := range sorted {
			require.InDelta(t, 0.4*float64(task%5)+float64(i)/100, v, 1e-6)
		}
	}
}

func TestTeachersOverlap(t *testing.T) {
	for _, overlap := range []float64{-1, -0.2, 0, 0.6, 1} {
		s := build(t, nil, 5, object{"kind": "teacher-student", "tasks": 4.0, "inputs": 1000.0, "examples_per_task": 50.0, "epochs": 2.0, "overlap": overlap})
		ts := s.Stream.(*teacherStudent)
		var before []float32
		for task := range 4 {
			x, y := s.task(t, task)
			held := stream.NewBatch(s.info, 1000)
			s.Test(held)
			var sum, squares, ones float64
			for i, row := range append(x, held.X[:1000]) {
				field := 0.0
				for k, v := range row {
					require.Equal(t, float32(1), ts.teacher[k]*ts.teacher[k])
					field += float64(v) * float64(ts.teacher[k])
					sum += float64(v)
					squares += float64(v) * float64(v)
				}
				want := float32(0)
				if field > 0 {
					want, ones = 1, ones+1
				}
				if i < len(y) {
					require.Equal(t, want, y[i])
				} else {
					require.Equal(t, int32(want), held.Labels[0])
				}
			}
			n := float64(101 * 1000)
			require.InDelta(t, 0, sum/n, 5/math.Sqrt(n))
			require.InDelta(t, 1, squares/n, 5*math.Sqrt(2/n))
			require.InDelta(t, 50, ones, 35)
			first := map[float32]int{}
			for _, row := range x {
				first[row[0]]++
			}
			require.Len(t, first, 50)
			for _, c := range first {
				require.Equal(t, 2, c, "an example is shown once in each epoch")
			}
			if task > 0 {
				dot := 0.0
				for k := range before {
					dot += float64(before[k] * ts.teacher[k])
				}
				require.InDelta(t, overlap, dot/1000, 1e-12)
			}
			before = slices.Clone(ts.teacher)
		}
		require.NoError(t, s.Enter(1))
		sign := build(t, nil, 5, object{"kind": "teacher-student", "inputs": 1000.0, "examples_per_task": 50.0, "epochs": 2.0, "overlap": overlap, "answer": "sign"})
		x, y := s.task(t, 1)
		x2, y2 := sign.task(t, 1)
		require.Equal(t, x, x2)
		for i := range y {
			require.Equal(t, 2*y[i]-1, y2[i])
		}
	}
}
