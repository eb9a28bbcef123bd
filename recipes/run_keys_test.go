package recipes_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/experiment"
)

// A run keeps its key as long as the numerics version stays: results that are on record
// are found by it. testdata/run_keys.json has keys of the recipes' quick forms, as an
// earlier revision computed them; a recipe that has changed since, or is new, is not
// in it.
func TestRunsKeepTheirKeys(t *testing.T) {
	b, err := os.ReadFile("testdata/run_keys.json")
	require.NoError(t, err)
	var golden struct {
		Numerics int
		Keys     map[string]string
	}
	require.NoError(t, json.Unmarshal(b, &golden))
	if golden.Numerics != engine.NumericsVersion {
		t.Skipf("the keys are of numerics version %d", golden.Numerics)
	}
	require.Greater(t, len(golden.Keys), 60)
	found := keysOfRecipes(t)
	for run, key := range golden.Keys {
		require.Equal(t, key, found[run], run)
	}
}

// keysOfRecipes computes the key of the first run of the first and last trial of each arm
// order of every recipe's quick form.
func keysOfRecipes(t *testing.T) map[string]string {
	files, err := filepath.Glob("*/*.yaml")
	require.NoError(t, err)
	keys := map[string]string{}
	for _, file := range files {
		doc, err := experiment.ReadDocumentFile(file)
		require.NoError(t, err, file)
		v, err := doc.Variant(experiment.Quick)
		require.NoError(t, err, file)
		plan, err := experiment.Expand(v.Spec)
		require.NoError(t, err, file)
		name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		for _, trial := range []experiment.Trial{plan.Trials[0], plan.Trials[len(plan.Trials)-1]} {
			keys[fmt.Sprintf("%s %s %d", name, trial.Name, trial.Seeds[0])] = trial.RunKey(trial.Seeds[0], nil)
		}
	}
	return keys
}
