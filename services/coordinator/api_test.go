package coordinator

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/telemetry"
	pb "neoteny/proto/neoteny/v1"
)

// client serves the coordinator and returns a client of it.
func (w *world) client() pb.ExperimentServiceClient {
	lis := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	pb.RegisterExperimentServiceServer(srv, w.svc)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(lis)
	}()
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return lis.Dial() }))
	require.NoError(w.t, err)
	w.close = append(w.close, func() {
		_ = conn.Close()
		srv.Stop()
		<-done
	})
	return pb.NewExperimentServiceClient(conn)
}

func TestSubmitTwiceIsOneExperiment(t *testing.T) {
	w := setup(t)
	c := w.client()
	req := &pb.SubmitExperimentRequest{RequestId: "once", Spec: small.spec("idempotent")}
	type answer struct {
		id      string
		existed bool
	}
	answers := make(chan answer)
	for range 8 {
		go func() {
			r, err := c.SubmitExperiment(w.ctx, req)
			if err != nil {
				answers <- answer{id: err.Error()}
				return
			}
			answers <- answer{r.Experiment.Id, r.Existed}
		}()
	}
	ids, created := map[string]bool{}, 0
	for range 8 {
		a := <-answers
		ids[a.id] = true
		if !a.existed {
			created++
		}
	}
	require.Len(t, ids, 1, "%v", ids)
	require.Equal(t, 1, created)

	other := proto.CloneOf(req)
	other.Spec.Paper = "another"
	_, err := c.SubmitExperiment(w.ctx, other)
	require.Equal(t, codes.AlreadyExists, status.Code(err))

	// After a restart as well.
	w.kill()
	w.start()
	r, err := w.svc.SubmitExperiment(w.ctx, req)
	require.NoError(t, err)
	require.True(t, r.Existed)
	require.True(t, ids[r.Experiment.Id])
	require.Regexp(t, `^idempotent-[a-z0-9]{6}$`, r.Experiment.Id)

	// Without a request id each is its own.
	a, err := w.svc.SubmitExperiment(w.ctx, &pb.SubmitExperimentRequest{Spec: req.Spec})
	require.NoError(t, err)
	b, err := w.svc.SubmitExperiment(w.ctx, &pb.SubmitExperimentRequest{Spec: req.Spec})
	require.NoError(t, err)
	require.NotEqual(t, a.Experiment.Id, b.Experiment.Id)
}

func TestMistakesNameTheirFields(t *testing.T) {
	w := setup(t)
	bad := shape{}.spec("bad")
	_, err := w.svc.SubmitExperiment(w.ctx, &pb.SubmitExperimentRequest{Spec: bad})
	_, err2 := w.svc.ValidateExperiment(w.ctx, &pb.ValidateExperimentRequest{Spec: bad})
	for _, err := range []error{err, err2} {
		st := status.Convert(err)
		require.Equal(t, codes.InvalidArgument, st.Code())
		var fields []string
		for _, d := range st.Details() {
			for _, v := range d.(*errdetails.BadRequest).FieldViolations {
				fields = append(fields, v.Field)
			}
		}
		require.Equal(t, []string{"stream.tasks", "learner.optimizer.lr"}, fields)
	}
	_, err = w.svc.ListExperiments(w.ctx, &pb.ListExperimentsRequest{PageToken: "???"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = w.svc.ListRuns(w.ctx, &pb.ListRunsRequest{Experiment: "x", PageToken: "LTEKLTE"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = w.svc.ListRuns(w.ctx, &pb.ListRunsRequest{Experiment: "x"})
	require.Equal(t, codes.NotFound, status.Code(err))
	for id, want := range map[string]codes.Code{"x": codes.InvalidArgument, "x/a-0/0": codes.NotFound, "x/a-0/-1": codes.InvalidArgument} {
		_, err = w.svc.GetRun(w.ctx, &pb.GetRunRequest{Id: id})
		require.Equal(t, want, status.Code(err), id)
	}
	id := w.submit("good", small)
	w.eventually(func() bool { return len(w.runs(id)) == 4 }, "expanded")
	for _, run := range []string{id + "/a-0/9", id + "/z/0"} {
		_, err = w.svc.GetRun(w.ctx, &pb.GetRunRequest{Id: run})
		require.Equal(t, codes.NotFound, status.Code(err), run)
	}
	require.Equal(t, runPending, w.run(id+"/b-0/1").Run.State)
}

func TestValidateTellsTheTotals(t *testing.T) {
	w := setup(t)
	s := small
	s.Confirm = []uint32{8}
	r, err := w.svc.ValidateExperiment(w.ctx, &pb.ValidateExperimentRequest{Spec: s.spec("dry")})
	require.NoError(t, err)
	require.True(t, proto.Equal(&pb.ValidateExperimentResponse{Trials: 2, Runs: 6, Segments: 18, Steps: 300, Tasks: 30, Arms: []string{"a", "b"}}, r), "%v", r)
	l, err := w.svc.ListExperiments(w.ctx, &pb.ListExperimentsRequest{})
	require.NoError(t, err)
	require.Empty(t, l.Experiments)
}

func TestExperimentsAreListedInPages(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(w.end)
	w.start()
	var want []string
	for i := range 7 {
		spec := small.spec([]string{"even", "odd"}[i%2])
		if i == 3 {
			spec.Paper = "dohare"
		}
		r, err := w.svc.SubmitExperiment(w.ctx, &pb.SubmitExperimentRequest{Spec: spec})
		require.NoError(t, err)
		want = append([]string{r.Experiment.Id}, want...)
	}
	list := func(req *pb.ListExperimentsRequest) (ids []string) {
		for {
			r, err := w.svc.ListExperiments(w.ctx, req)
			require.NoError(t, err)
			if req.PageSize > 0 {
				require.LessOrEqual(t, len(r.Experiments), int(req.PageSize))
			}
			for _, e := range r.Experiments {
				ids = append(ids, e.Id)
			}
			if r.NextPageToken == "" {
				return ids
			}
			req.PageToken = r.NextPageToken
		}
	}
	require.Equal(t, want, list(&pb.ListExperimentsRequest{PageSize: 3}))
	require.Equal(t, want, list(&pb.ListExperimentsRequest{}))
	require.Equal(t, []string{want[1], want[3], want[5]}, list(&pb.ListExperimentsRequest{NamePrefix: "od", PageSize: 2}))
	require.Equal(t, []string{want[3]}, list(&pb.ListExperimentsRequest{Paper: "dohare"}))
	_, err := w.svc.CancelExperiment(w.ctx, &pb.CancelExperimentRequest{Id: want[2]})
	require.NoError(t, err)
	w.waitState(want[2], expCancelled)
	require.Equal(t, []string{want[2]}, list(&pb.ListExperimentsRequest{States: []pb.ExperimentState{expCancelled}}))
	require.NotContains(t, list(&pb.ListExperimentsRequest{States: []pb.ExperimentState{expPending}}), want[2])
}

func TestRunsAreListedInPages(t *testing.T) {
	w := setup(t)
	s := small
	s.Arms = map[string]int{"a": 2, "b": 3}
	id := w.submit("pages", s)
	w.eventually(func() bool { return len(w.runs(id)) == 10 }, "expanded")
	var ids, all []string
	for _, r := range w.runs(id) {
		all = append(all, r.Id)
	}
	req := &pb.ListRunsRequest{Experiment: id, PageSize: 3}
	for {
		r, err := w.svc.ListRuns(w.ctx, req)
		require.NoError(t, err)
		for _, run := range r.Runs {
			ids = append(ids, run.Id)
		}
		if req.PageToken = r.NextPageToken; req.PageToken == "" {
			break
		}
	}
	require.Equal(t, all, ids)
	r, err := w.svc.ListRuns(w.ctx, &pb.ListRunsRequest{Experiment: id, Arm: "b"})
	require.NoError(t, err)
	require.Len(t, r.Runs, 6)
	require.Empty(t, w.runs(id, runDone))
	w.join("w1", 3).work()
	w.waitState(id, expDone)
	require.Len(t, w.runs(id, runDone, runFailed), 10)
}

func TestWatchEndsWithTheFinalState(t *testing.T) {
	w := setup(t)
	c := w.client()
	id := w.submit("watch", small)
	stream, err := c.WatchExperiment(w.ctx, &pb.WatchExperimentRequest{Id: id})
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "watch", first.Experiment.Spec.Name)
	w.join("w1", 2).work()
	last, done := first.Experiment, int64(0)
	for last.State != expDone {
		r, err := stream.Recv()
		require.NoError(t, err)
		require.Nil(t, r.Experiment.Spec)
		require.GreaterOrEqual(t, r.Experiment.Progress.StepsDone, done, "progress goes back")
		last, done = r.Experiment, r.Experiment.Progress.StepsDone
	}
	require.EqualValues(t, 200, done)
	_, err = stream.Recv()
	require.ErrorContains(t, err, "EOF")

	stream, err = c.WatchExperiment(w.ctx, &pb.WatchExperimentRequest{Id: "none"})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.NotFound, status.Code(err))
}

func TestALargeSpecOverflows(t *testing.T) {
	w := setup(t)
	s := small
	s.Seeds = nil
	for i := range 60_000 {
		s.Seeds = append(s.Seeds, uint32(3*i))
	}
	id := w.submit("large", s)
	w.eventually(func() bool { return w.get(id).Progress.Runs == 120_000 }, "expanded")
	w.kill()
	w.start()
	require.Equal(t, s.spec("large").Description, w.get(id).Spec.Description)
	l, err := w.svc.ListExperiments(w.ctx, &pb.ListExperimentsRequest{NamePrefix: "large"})
	require.NoError(t, err)
	require.Len(t, l.Experiments, 1)
	require.Empty(t, l.Experiments[0].Spec.Stream)
}

func TestComponentsAreFiltered(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(w.end)
	w.start()
	r, err := w.svc.ListComponents(w.ctx, &pb.ListComponentsRequest{})
	require.NoError(t, err)
	_, err = w.svc.ListComponents(w.ctx, &pb.ListComponentsRequest{Kind: "nonsense"})
	require.Equal(t, codes.NotFound, status.Code(err))
	for _, c := range r.Components {
		one, err := w.svc.ListComponents(w.ctx, &pb.ListComponentsRequest{Kind: c.Kind, Name: c.Name})
		require.NoError(t, err)
		require.Len(t, one.Components, 1)
		require.NotEmpty(t, one.Components[0].Summary)
		require.Contains(t, one.Components[0].JsonSchema, c.Name)
	}
}

func TestMetricsTellWhatHappened(t *testing.T) {
	w := setup(t)
	w.join("w1", 2).work()
	w.join("w2", 2, func(r *pb.Worker) { r.Draining = true })
	id := w.submit("metrics", small)
	w.waitState(id, expDone)
	rec := httptest.NewRecorder()
	w.tel.Handler(telemetry.HTTPConfig{}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{
		"neoteny_coordinator_assignments_total 12",
		"neoteny_coordinator_commits_total 12",
		`neoteny_coordinator_experiments{state="done"} 1`,
		`neoteny_coordinator_experiments{state="running"} 0`,
		`neoteny_coordinator_runs_ended_total{state="done"} 4`,
		`neoteny_coordinator_segments{state="pending"} 0`,
		"neoteny_coordinator_slots 2",
		"neoteny_coordinator_slots_busy 0",
		`neoteny_coordinator_workers{state="draining"} 1`,
		`neoteny_coordinator_workers{state="ready"} 1`,
	} {
		require.Contains(t, rec.Body.String(), line+"\n")
	}
}
