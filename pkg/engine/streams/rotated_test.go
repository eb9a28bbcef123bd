package streams

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/stream"
)

// TestRotatedAgainstAnIndependentRotation turns images with package math, pixel
// by pixel, by the pull of a rotation matrix.
func TestRotatedAgainstAnIndependentRotation(t *testing.T) {
	source := synthetic(60)
	s := build(t, source, 5, object{"kind": "rotated", "tasks": 5.0, "examples_per_task": 60.0})
	b := stream.NewBatch(s.info, 1)
	seen := map[float64]bool{}
	for task := range 5 {
		require.NoError(t, s.Enter(task))
		degrees := s.Stream.(*rotated).halfTurns(task) * 180
		require.GreaterOrEqual(t, degrees, 0.0)
		require.Less(t, degrees, 180.0)
		seen[degrees] = true
		for step := range int64(5) {
			s.Batch(step, b)
			image := s.src.TrainSplit.X[int(b.Index[0])*784:]
			at := func(r, c int) float64 {
				if r < 0 || c < 0 || r > 27 || c > 27 {
					return 0
				}
				return float64(image[r*28+c]) / 255
			}
			theta := degrees / 180 * math.Pi
			for r := range 28 {
				for c := range 28 {
					// Up is against the rows. A point of the turned image, turned back by θ.
					x, y := float64(c)-13.5, 13.5-float64(r)
					x, y = x*math.Cos(theta)+y*math.Sin(theta), y*math.Cos(theta)-x*math.Sin(theta)
					row, column := 13.5-y, x+13.5
					r0, c0 := int(math.Floor(row)), int(math.Floor(column))
					want := 0.0
					for dr := range 2 {
						for dc := range 2 {
							want += (1 - math.Abs(row-float64(r0+dr))) * (1 - math.Abs(column-float64(c0+dc))) * at(r0+dr, c0+dc)
						}
					}
					require.InDelta(t, want, b.X[r*28+c], 1e-6, "task %d: row %d column %d", task, r, c)
				}
			}
		}
	}
	require.Len(t, seen, 5)
}

func TestQuarterTurnsAreExact(t *testing.T) {
	s := build(t, synthetic(60), 5, object{"kind": "rotated", "tasks": 6.0, "examples_per_task": 60.0, "angles": "linear", "degrees": 90.0, "scale": "symmetric"})
	b := stream.NewBatch(s.info, 1)
	for task := range 6 {
		require.NoError(t, s.Enter(task))
		s.Batch(3, b)
		image := s.src.TrainSplit.X[int(b.Index[0])*784:]
		for r := range 28 {
			for c := range 28 {
				y, x := r, c
				for range task % 4 { // what is now at (r, c) was, a quarter turn counterclockwise ago, at (c, 27−r)
					y, x = x, 27-y
				}
				require.Equal(t, float32((float64(image[y*28+x])/255-0.5)/0.5), b.X[r*28+c], "task %d", task)
			}
		}
	}
}
