package run_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/run"
	"neoteny/pkg/engine/spec"
)

// end is the end of a task as a file of testdata/checkpoints has it.
type end struct {
	Task        int
	Step        int64
	State, Rows string
}

type ends []end

func (*ends) Rows(run.Rows) error { return nil }
func (e *ends) Boundary(b run.Boundary) error {
	*e = append(*e, end{b.Task, b.Step, hex.EncodeToString(b.State[:]), hex.EncodeToString(b.Rows[:])})
	return nil
}

// The files in testdata/checkpoints are checkpoints in the middle of a task, each
// with the digests of the rest of its run, as the program of an earlier revision wrote
// them. A program of the same numerics version goes on from them with the same bits.
func TestCheckpointsOfEarlierProgramsAreRead(t *testing.T) {
	files, err := filepath.Glob("testdata/checkpoints/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			var written struct {
				Numerics int
				Spec     struct {
					Stream, Environment, Learner map[string]any
					Probes                       []map[string]any
				}
				Seed       uint32
				Step       int64
				Boundaries ends
			}
			require.NoError(t, json.Unmarshal(b, &written))
			s, err := spec.Resolve(spec.Raw(written.Spec))
			require.NoError(t, err)
			l, err := run.New(s, run.Env{Seed: written.Seed})
			require.NoError(t, err)
			checkpoint, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".safetensors")
			require.NoError(t, err)
			err = l.Load(checkpoint)
			if written.Numerics != run.NumericsVersion {
				require.ErrorContains(t, err, "numerics")
				return
			}
			require.NoError(t, err)
			require.Equal(t, written.Step, l.Step())
			var got ends
			require.NoError(t, l.Advance(context.Background(), s.Steps(), &got))
			require.Equal(t, written.Boundaries, got)
		})
	}
}
