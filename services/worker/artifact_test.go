package worker

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/blob"
	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

func TestArtifactsArePublishedAtTheEndOfARun(t *testing.T) {
	inBubble(t, func(x *fixture) { x.c.publish = []string{"scores", "weights"} }, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(time.Second)
		first := x.committed(t, 0, 500)
		require.Empty(t, first.Result.Artifacts, "the run goes on")
		x.c.assign(500, 1000, first.Result.Checkpoint)
		wait(time.Second)
		last := x.committed(t, 500, 1000)
		require.Len(t, last.Result.Artifacts, 2)
		for name, ref := range last.Result.Artifacts {
			want := fmt.Sprintf("%s of 7 at step 1000: %d", name, truth(1000).state)
			b, err := x.s.Get(t.Context(), ref, 1<<10)
			require.NoError(t, err)
			require.Equal(t, want, string(b))
			require.Equal(t, fmt.Sprintf("artifacts/exp/%x", sha256.Sum256(b)), ref.Key)
		}
	})
}

func TestALifeIsGivenItsArtifacts(t *testing.T) {
	for name, pack := range map[string]bool{"alone": false, "pack": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
				ref, err := x.s.Put(t.Context(), "artifacts/exp/abc", []byte("the weights"))
				require.NoError(t, err)
				x.c.mu.Lock()
				x.c.inputs = []*pb.Input{{Name: "pretrained", Run: "exp/other/7", Artifact: "weights", Blob: ref}}
				x.c.mu.Unlock()
				if pack {
					x.c.assignPack(0, 500, nil, nil)
				} else {
					x.c.assign(0, 500, nil)
				}
				wait(time.Second)
				x.committed(t, 0, 500)
				require.NotEmpty(t, x.e.given)
				for _, given := range x.e.given {
					require.Equal(t, component.Artifacts{"pretrained": []byte("the weights")}, given)
				}
			})
		})
	}
}

func TestArtifactsThatFail(t *testing.T) {
	for name, tt := range map[string]struct {
		set       func(x *fixture)
		want      string
		permanent bool
	}{
		"none of that name": {func(x *fixture) { x.c.publish = []string{"missing"} }, "no such artifact", true},
		"gone": {func(x *fixture) {
			x.c.inputs = []*pb.Input{{Name: "pretrained", Run: "exp/other/7", Artifact: "weights", Blob: &pb.BlobRef{Key: "gone"}}}
		}, "artifact pretrained (weights of run exp/other/7): ", false},
		"no room": {func(x *fixture) {
			x.c.publish = []string{"weights"}
			x.s.putErr = func(n int) error {
				if n == 1 {
					return nil // the checkpoint
				}
				return fmt.Errorf("write k: %w", blob.ErrFull)
			}
		}, "write artifact weights: write k: no space left", false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tt.set, func(t *testing.T, x *fixture) {
				x.c.assign(0, 1000, nil)
				wait(2 * time.Minute)
				f := x.c.segment(0).Failures
				require.Len(t, f, 1)
				require.Contains(t, f[0].Error, tt.want)
				require.Equal(t, tt.permanent, f[0].Permanent)
			})
		})
	}
}
