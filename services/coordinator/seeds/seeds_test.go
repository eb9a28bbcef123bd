package seeds

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSeedsAreKept(t *testing.T) {
	kept := func(t require.TestingT, seeds []uint32, other uint32) {
		s := Set{Pack(seeds)}
		require.Equal(t, len(seeds), s.Len())
		for i, x := range seeds {
			require.Equal(t, x, s.At(i))
			require.Equal(t, i, s.Index(x))
		}
		require.Equal(t, slices.Index(seeds, other), s.Index(other))
	}
	rapid.Check(t, func(t *rapid.T) {
		var seeds []uint32
		if rapid.Bool().Draw(t, "consecutive") {
			first := rapid.Uint32Range(0, 1<<32-20).Draw(t, "first")
			for i := range rapid.Uint32Range(1, 20).Draw(t, "count") {
				seeds = append(seeds, first+i)
			}
		} else {
			seeds = rapid.SliceOfNDistinct(rapid.Uint32(), 1, 20, rapid.ID).Draw(t, "seeds")
		}
		kept(t, seeds, rapid.Uint32().Draw(t, "other"))
	})
	kept(t, []uint32{1<<32 - 1, 0}, 1)
	kept(t, []uint32{1<<32 - 2, 1<<32 - 1, 0, 1}, 2)
	require.Zero(t, Set{Pack(nil)}.Len())
	require.Zero(t, Set{nil}.Len())
}
