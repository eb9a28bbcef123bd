package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChooseISA(t *testing.T) {
	have := Available()
	isa, err := choose("")
	require.NoError(t, err)
	require.Equal(t, have[len(have)-1], isa)
	for _, want := range have {
		isa, err := choose(want.String())
		require.NoError(t, err)
		require.Equal(t, want, isa)
	}
	isa, err = choose("mmx")
	require.ErrorContains(t, err, "NEOTENY_ISA=mmx: want one of generic, neon, avx2, avx512")
	require.Equal(t, Generic, isa)
	missing := NEON
	if hasNEON {
		missing = AVX512
	}
	isa, err = choose(missing.String())
	require.ErrorContains(t, err, "this machine has [generic")
	require.Equal(t, Generic, isa)
	require.Panics(t, func() { ForceISA(missing) })
	eachISA(t, func(t *testing.T) { require.Contains(t, t.Name(), Active().String()) })
	require.NoError(t, Err())
}
