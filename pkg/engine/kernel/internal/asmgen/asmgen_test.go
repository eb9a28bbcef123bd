package asmgen

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommittedFilesAreFresh(t *testing.T) {
	files := Files()
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join("..", "..", name))
		require.NoError(t, err, "run go generate ./pkg/engine/kernel")
		require.True(t, bytes.Equal(want, have), "%s is stale: run go generate ./pkg/engine/kernel", name)
	}
	all, err := filepath.Glob("../../*.*")
	require.NoError(t, err)
	for _, name := range all {
		have, err := os.ReadFile(name)
		require.NoError(t, err)
		if bytes.HasPrefix(have, []byte(Header)) {
			require.Contains(t, files, filepath.Base(name), "no longer generated")
		}
	}
}

func TestMisuseOfRegistersPanics(t *testing.T) {
	for isa := AVX512; isa <= NEON; isa++ {
		f := (&Asm{ISA: isa, Group: "test"}).Func("f", "x *float32, n int", "")
		require.Panics(t, func() { f.Arg("y") })
		v := f.Vec()
		f.Free(v)
		require.Panics(t, func() { f.Free(v) }, "freed twice")
		require.Panics(t, func() { f.Vecs(33) }, "too many")
	}
	require.Panics(t, func() { (&Asm{}).Func("f", "g *float32", "") }, "g is the assembler's")
}
