package cluster

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pb "neoteny/proto/neoteny/v1"
)

func TestSubmissionIsIdempotent(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	ctx := t.Context()
	spec := &pb.ExperimentSpec{Name: "name", Paper: "p"}
	a, existed, err := c.CreateSubmission(ctx, "r1", spec, nil, time.Unix(5, 0))
	require.NoError(t, err)
	require.False(t, existed)
	require.Regexp(t, `^name-[a-z0-9]{6}$`, a.Id)
	b, existed, err := c.CreateSubmission(ctx, "r1", spec, nil, time.Unix(9, 0))
	require.NoError(t, err)
	require.True(t, existed)
	require.Equal(t, a.Id, b.Id)
	require.EqualValues(t, 5, b.CreatedAt.Seconds)
	_, _, err = c.CreateSubmission(ctx, "r1", &pb.ExperimentSpec{Name: "name"}, nil, time.Unix(9, 0))
	require.ErrorIs(t, err, ErrConflict)
	d, _, err := c.CreateSubmission(ctx, "r2", spec, nil, time.Unix(9, 0))
	require.NoError(t, err)
	require.NotEqual(t, a.Id, d.Id)
	for _, id := range []string{"", strings.Repeat("x", 129)} {
		_, _, err = c.CreateSubmission(ctx, id, spec, nil, time.Now())
		require.ErrorContains(t, err, "request id")
	}
	_, _, err = c.CreateSubmission(ctx, "r3", &pb.ExperimentSpec{Name: "a/b"}, nil, time.Now())
	require.Error(t, err)
	_, err = c.Experiment(ctx, "nobody")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestSpecsOverflow(t *testing.T) {
	c := dial(t, t.Cleanup, Options{Overflow: memBlob(t)})
	ctx := t.Context()
	spec := &pb.ExperimentSpec{Name: "large", Description: strings.Repeat("x", inlineLimit)}
	a, _, err := c.CreateSubmission(ctx, "r", spec, nil, time.Now())
	require.NoError(t, err)
	got, err := c.Experiment(ctx, a.Id)
	require.NoError(t, err)
	require.Equal(t, spec.Description, got.Spec.Description)
	_, existed, err := c.CreateSubmission(ctx, "r", spec, nil, time.Now())
	require.NoError(t, err)
	require.True(t, existed)
	mod := modOf(t, c, pfxExp+a.Id)
	got.Expanded = true
	mod, err = c.UpdateExperiment(ctx, got, mod)
	require.NoError(t, err)
	_, err = c.UpdateExperiment(ctx, got, mod-1)
	require.ErrorIs(t, err, ErrConflict)

	big := []byte(`"` + strings.Repeat("y", inlineLimit) + `"`)
	_, err = c.AddTrials(ctx, a.Id, mod, []*pb.TrialRecord{{Name: "t", CanonicalSpec: big}})
	require.NoError(t, err)
	tr, err := c.Trial(ctx, a.Id, "t")
	require.NoError(t, err)
	require.Equal(t, big, tr.CanonicalSpec)
}

func TestManyRecordsGoInChunks(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	ctx := t.Context()
	rec, _, err := c.CreateSubmission(ctx, "r", &pb.ExperimentSpec{Name: "many"}, nil, time.Now())
	require.NoError(t, err)
	mod := modOf(t, c, pfxExp+rec.Id)
	var trials []*pb.TrialRecord
	var runs []NewRun
	for i := range 150 {
		name := fmt.Sprintf("t%d", i)
		trials = append(trials, &pb.TrialRecord{Name: name, CanonicalSpec: make([]byte, 40<<10)}) // 6 MB in all
		id := rec.Id + "/" + name + "/0"
		runs = append(runs, NewRun{&pb.Run{Id: id}, segmentOf(id, 0, 1)})
	}
	_, err = c.AddTrials(ctx, rec.Id, mod, trials)
	require.NoError(t, err)
	_, err = c.AddRuns(ctx, rec.Id, mod, runs)
	require.NoError(t, err)
	require.Len(t, truth(t, c, pfxTrial), 150)
	require.Len(t, truth(t, c, pfxRun), 150)
	require.Len(t, truth(t, c, pfxSegment), 150)
	_, err = c.AddRuns(ctx, rec.Id, mod, runs[149:])
	require.ErrorIs(t, err, ErrConflict)
	_, err = c.AddTrials(ctx, rec.Id, mod+1, trials)
	require.ErrorIs(t, err, ErrConflict)
}

func TestDesiredStates(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	ctx := t.Context()
	_, err := c.SetDesired(ctx, "nobody", pb.Desired_DESIRED_CANCEL, time.Now())
	require.ErrorIs(t, err, ErrNotFound)
	rec, _ := seed(t, c)
	a, err := c.SetDesired(ctx, rec.Id, pb.Desired_DESIRED_CANCEL, time.Now())
	require.NoError(t, err)
	b, err := c.SetDesired(ctx, rec.Id, pb.Desired_DESIRED_CANCEL, time.Now())
	require.NoError(t, err)
	require.Equal(t, a, b)
	_, err = c.SetDesired(ctx, rec.Id, pb.Desired_DESIRED_DELETE, time.Now())
	require.NoError(t, err)
	// Deleting is for good.
	_, err = c.SetDesired(ctx, rec.Id, pb.Desired_DESIRED_CANCEL, time.Now())
	require.NoError(t, err)
	got := &pb.ControlRecord{}
	_, err = c.get(ctx, pfxControl+rec.Id, got)
	require.NoError(t, err)
	require.Equal(t, pb.Desired_DESIRED_DELETE, got.Desired)
}

func TestCancelDoesNotUndoADeletionMeanwhile(t *testing.T) {
	prefix := freshPrefix()
	c, other := dial(t, t.Cleanup, Options{Prefix: prefix}), dial(t, t.Cleanup, Options{Prefix: prefix})
	rec, _ := seed(t, c)
	c.kv = &racyKV{KV: c.kv, prefix: pfxControl, race: func() {
		_, err := other.SetDesired(t.Context(), rec.Id, pb.Desired_DESIRED_DELETE, time.Now())
		require.NoError(t, err)
	}}
	_, err := c.SetDesired(t.Context(), rec.Id, pb.Desired_DESIRED_CANCEL, time.Now())
	require.NoError(t, err)
	got := &pb.ControlRecord{}
	_, err = c.get(t.Context(), pfxControl+rec.Id, got)
	require.NoError(t, err)
	require.Equal(t, pb.Desired_DESIRED_DELETE, got.Desired)
}

func TestAnotherSchemaIsRefused(t *testing.T) {
	prefix := freshPrefix()
	c := dial(t, t.Cleanup, Options{Prefix: prefix})
	_, err := c.kv.Put(t.Context(), keySchema, "99")
	require.NoError(t, err)
	_, err = Dial(t.Context(), endpoints, Options{Prefix: prefix})
	require.ErrorIs(t, err, ErrSchema)
	require.ErrorContains(t, err, `format "99"`)
}

func TestNumericsVersionOfNewRuns(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	v, err := c.Numerics(t.Context())
	require.NoError(t, err)
	require.Zero(t, v, "no coordinator has recorded it yet")
	for _, want := range []int32{3, 4} {
		require.NoError(t, c.SetNumerics(t.Context(), want))
		v, err = c.Numerics(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
}

func TestDialTellsThatEtcdIsDown(t *testing.T) {
	_, err := Dial(t.Context(), []string{"127.0.0.1:1"}, Options{DialTimeout: 200 * time.Millisecond})
	require.ErrorContains(t, err, "etcd at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused")
	lis, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	defer lis.Close()
	_, err = Dial(t.Context(), []string{"http://" + lis.Addr().String()}, Options{DialTimeout: 200 * time.Millisecond})
	require.ErrorContains(t, err, "no answer within 200ms")
	_, err = Dial(t.Context(), nil, Options{})
	require.Error(t, err)
}
