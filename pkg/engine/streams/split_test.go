package streams

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/stream"
)

func TestSplitShowsItsClassesOnly(t *testing.T) {
	s := build(t, synthetic(60), 5, object{"kind": "split", "tasks": 6.0, "examples_per_class": 5.0, "epochs": 2.0, "batch": 10.0})
	for task := range 6 {
		x, y := s.task(t, task)
		count := map[int]int{}
		for i, row := range x {
			image := s.find(pixels(row, unit))
			require.Equal(t, float32(s.src.TrainSplit.Y[image]), y[i])
			require.Equal(t, task%5, int(y[i])/2, "class of another group")
			count[image]++
		}
		require.Len(t, count, 10, "5 images of each of 2 classes")
		for image, n := range count {
			require.Equal(t, 2, n, "image %d: once per pass", image)
		}
	}
	seeded := build(t, synthetic(60), 5, object{"kind": "split", "classes_per_task": 5.0, "tasks": 2.0, "examples_per_class": 5.0, "batch": 5.0, "head": "shared", "class_order": "seeded"})
	require.Equal(t, 5, seeded.info.Outputs)
	classes := map[uint8]bool{}
	for task := range 2 {
		x, y := seeded.task(t, task)
		label := map[uint8]float32{}
		for i, row := range x {
			class := seeded.src.TrainSplit.Y[seeded.find(pixels(row, unit))]
			classes[class] = true
			if have, ok := label[class]; ok {
				require.Equal(t, have, y[i])
			}
			label[class] = y[i]
			require.Less(t, y[i], float32(5))
		}
		require.Len(t, label, 5)
	}
	require.Len(t, classes, 10, "the groups cover all classes")
}

// Held-out images of a group come a class in turn, so that the first of them, which
// measurements look at, are of all its classes.
func TestSplitHoldsBackAllClassesAlike(t *testing.T) {
	s := build(t, synthetic(60), 5, object{"kind": "split", "base": 6.0, "classes_per_task": 2.0, "tasks": 3.0, "examples_per_class": 5.0, "batch": 5.0})
	tester := s.Stream.(stream.Tester)
	for task, classes := range []int{6, 2, 2} {
		require.NoError(t, s.Enter(task))
		b := stream.NewBatch(s.info, tester.TestSize())
		tester.Test(0, b)
		images, count := map[string]bool{}, map[float32]int{}
		for i, y := range b.Labels {
			count[float32(y)]++
			images[fmt.Sprint(b.X[i*784:(i+1)*784])] = true
			if (i+1)%classes == 0 && i < 2*classes {
				require.Len(t, count, classes)
				for _, n := range count {
					require.Equal(t, (i+1)/classes, n, "of the first %d", i+1)
				}
			}
		}
		require.Len(t, images, tester.TestSize(), "every image once")
	}
}

func TestSplitOfDifferingSizes(t *testing.T) {
	raw := object{"kind": "split", "tasks": 3.0, "sizes": []any{3.0, 1.0, 2.0}, "classes": []any{7.0, 2.0, 9.0, 0.0, 4.0, 1.0}, "examples_per_class": 4.0, "batch": 4.0}
	groups := [][]float32{{7, 2, 9}, {0}, {4, 1}}
	places := map[string]func(task int, class float32) float32{
		"single":   func(_ int, class float32) float32 { return class },
		"shared":   func(task int, class float32) float32 { return float32(slices.Index(groups[task], class)) },
		"per-task": func(task int, class float32) float32 { return float32(3*task + slices.Index(groups[task], class)) },
	}
	for head, outputs := range map[string]int{"single": 10, "shared": 3, "per-task": 9} {
		raw["head"] = head
		s := build(t, synthetic(60), 5, raw)
		require.Equal(t, outputs, s.info.Outputs)
		require.Equal(t, int64(3), s.info.StepsPerTask, "as many as the largest group needs")
		for task, group := range groups {
			x, y := s.task(t, task)
			seen := map[float32]bool{}
			for i, row := range x {
				class := float32(s.src.TrainSplit.Y[s.find(pixels(row, unit))])
				require.Contains(t, group, class)
				require.Equal(t, places[head](task, class), y[i])
				seen[class] = true
			}
			require.Len(t, seen, len(group))
		}
	}
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"sizes", []any{3.0, 4.0}, "stream.sizes: must add up to the 6 classes, are 7 together"},
		{"sizes", []any{6.0, 0.0}, "stream.sizes[1]: must be between 1 and the 6 classes, is 0"},
		{"classes", []any{1.0, 1.0}, "stream.classes[1]: must be one of the classes 0 to 9 of mnist, each once, is 1"},
		{"classes", []any{10.0}, "stream.classes[0]"},
		{"base", 3.0, "stream.base: must be 0"},
		{"class_order", "seeded", "stream.class_order: must be natural"},
	} {
		wrong := maps.Clone(raw)
		wrong[c.key] = c.value
		_, err := stream.Resolve("stream", wrong)
		require.ErrorContains(t, err, c.want)
	}
}
