package streams

import (
	"fmt"
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
