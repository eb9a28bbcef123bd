package streams

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/stream"
)

func rankingFile(t testing.TB, name, dtype string, order ...int32) []byte {
	t.Helper()
	var b []byte
	for _, image := range order {
		b = binary.LittleEndian.AppendUint32(b, uint32(image))
	}
	var file bytes.Buffer
	require.NoError(t, safetensors.Encode(&file, &safetensors.File{Tensors: []safetensors.Tensor{{Name: name, DType: dtype, Shape: []int{len(order)}, Data: b}}}))
	return file.Bytes()
}

func ranked(t testing.TB, raw object, file []byte) (stream.Stream, stream.Info, error) {
	t.Helper()
	r, err := stream.Resolve("stream", raw)
	require.NoError(t, err)
	info, err := r.Config.(stream.Config).Info()
	require.NoError(t, err)
	env := stream.Env{Data: synthetic(60), Key: func(p string) rng.Key { return rng.New(5, "stream/"+p) }}
	if file != nil {
		env.Artifacts = component.Artifacts{"scores": file}
	}
	s, err := r.Build(env)
	return s, info, err
}

func shown(t testing.TB, raw object, file []byte) []int32 {
	t.Helper()
	s, info, err := ranked(t, raw, file)
	require.NoError(t, err)
	require.NoError(t, s.Enter(0))
	b := stream.NewBatch(info, info.Batch)
	var images []int32
	for step := range info.StepsPerTask {
		s.Batch(step, b)
		images = append(images, b.Index...)
	}
	slices.Sort(images)
	return images
}

func TestImagesAreLeftOutByARanking(t *testing.T) {
	var order []int32 // 59, 29, 58, 28, …
	for i := int32(0); i < 30; i++ {
		order = append(order, 59-i, 29-i)
	}
	file := rankingFile(t, "ranking", "I32", order...)
	raw := object{"kind": "images", "batch": 1.0, "subset": 60.0, "remove": 0.25, "ranking": object{"artifact": "scores"}}
	require.Equal(t, slices.Sorted(slices.Values(order[15:])), shown(t, raw, file))
	raw["ranking"] = object{"artifact": "scores", "from": "end"}
	require.Equal(t, slices.Sorted(slices.Values(order[:45])), shown(t, raw, file))

	// Of a subset, those that come first are left out.
	subset := object{"kind": "images", "batch": 1.0, "subset": 40.0}
	all := shown(t, subset, nil)
	chosen := func(image int32) bool { return slices.Contains(all, image) }
	subset["remove"], subset["ranking"] = 0.5, object{"artifact": "scores"}
	var kept []int32
	for _, image := range order {
		if chosen(image) {
			kept = append(kept, image)
		}
	}
	require.Equal(t, slices.Sorted(slices.Values(kept[20:])), shown(t, subset, file))
}

func TestABadRankingIsSaid(t *testing.T) {
	order := make([]int32, 60)
	for i := range order {
		order[i] = int32(i)
	}
	change := func(i int, image int32) []int32 {
		o := slices.Clone(order)
		o[i] = image
		return o
	}
	raw := object{"kind": "images", "batch": 1.0, "subset": 60.0, "remove": 0.25, "ranking": object{"artifact": "scores"}}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"none":         {nil, "was not given the artifact"},
		"not a file":   {[]byte("ranking"), "artifact scores"},
		"another file": {rankingFile(t, "events", "I32", order...), "no tensor ranking"},
		"another type": {rankingFile(t, "ranking", "F32", order...), "no tensor ranking"},
		"too short":    {rankingFile(t, "ranking", "I32", order[:59]...), "ranks 59 images"},
		"twice":        {rankingFile(t, "ranking", "I32", change(7, 8)...), "ranks image 8"},
		"too high":     {rankingFile(t, "ranking", "I32", change(7, 60)...), "ranks image 60"},
		"negative":     {rankingFile(t, "ranking", "I32", change(7, -1)...), "ranks image -1"},
	} {
		_, _, err := ranked(t, raw, c.file)
		require.ErrorContains(t, err, c.want, name)
	}
	_, err := stream.Resolve("stream", object{"kind": "images", "ranking": object{"artifact": "scores"}})
	fields := component.FieldErrors(err)
	require.Len(t, fields, 1)
	require.Equal(t, "stream.remove", fields[0].Field)
}
