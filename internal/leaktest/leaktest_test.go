package leaktest

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPatience(t *testing.T) {
	looks, lasts := 0, 0
	look := func() error {
		if looks++; looks <= lasts {
			return errors.New("still there")
		}
		return nil
	}
	lasts = tries - 1
	require.NoError(t, patient(look), "it ended at last")
	looks, lasts = 0, tries
	require.ErrorContains(t, patient(look), "still there")
	require.Equal(t, tries, looks)
}

func TestExit(t *testing.T) {
	require.NoError(t, Find())
	require.Equal(t, 0, Exit(0))
	require.Equal(t, 2, Exit(2))
}
