// Package local runs an experiment in a cluster of this process: the command run, and
// the runner that reproductions share.
package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/cmd/neoteny/internal/cli/wiring"
	"neoteny/internal/datastore"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "run", Help: "Run an experiment on this machine and write its results.", Group: app.Everyday, Place: 1,
		New: func() any { return &RunCmd{} },
	})
}

type RunCmd struct {
	File         string   `arg:"" help:"Experiment file, YAML or JSON; - reads standard input."`
	Out          string   `help:"Folder that the folder of results is made in. Default: ${default}." default:"results" placeholder:"DIR" type:"path"`
	Workers      int      `help:"Number of workers; 0 means one per core." default:"0"`
	Lanes        int      `help:"Runs of one trial that a worker lives through in lockstep where the network is so small that this is faster; 1: none, 0: as many as pays. Results do not depend on it." default:"0" placeholder:"N"`
	Keep         bool     `help:"Keep the state, so that the same command goes on where it was."`
	StateDir     string   `help:"Folder of the state; implies --keep. Default with --keep: .neoteny/<name>-<digest of the experiment>." placeholder:"DIR" type:"path"`
	SegmentTasks int32    `help:"Tasks per segment, in place of the file's: how often work is committed. Results do not depend on it." placeholder:"N"`
	Steps        bool     `help:"Save the per-step data too, as Parquet." default:"true" negatable:""`
	Etcd         []string `help:"Use this etcd in place of an embedded one; implies --keep." placeholder:"HOST:PORT,…"`
	Blob         string   `help:"Use this blob store in place of a folder of the state folder." placeholder:"URL"`
	Pprof        bool     `help:"Offer /debug/pprof/ too."`
	// Source is the file, to be kept with the results.
	Source *pb.Source `kong:"-"`
	app.FileFlags
	app.StrictFlag
	app.ReuseFlag
	app.WeightsFlag
	wiring.Addresses
	app.DataFlag
	app.Output

	// begin gives the experiment to go on with, in place of submitting the file's.
	begin func(context.Context, *wiring.Stack) (*pb.Experiment, error)
}

func (RunCmd) Help() string {
	return `Starts a whole cluster in this process (etcd, coordinator, metrics service, workers), runs the experiment, prints a table of the arms by metric and the claims with their verdicts, and saves everything. Datasets are fetched on first use. Ports that are in use are replaced by free ones. Progress goes to standard error, results to standard output; -o json prints summary.json.

  neoteny run recipes/quickstart.yaml
  neoteny run recipes/quickstart.yaml --workers 1 --out /tmp/results
  neoteny run recipes/quickstart.yaml --keep
  neoteny run recipes/quickstart.yaml --set stream.tasks=5 --set 'sweep.grid["learner.optimizer.lr"]=[0.1, 0.01]'
  neoteny run recipes/continual-backprop/bit-flip-regression.yaml --quick
  neoteny run - -o json < experiment.yaml | jq .claims

Ctrl-C stops cleanly: workers save where they are, the state is kept, and the message says how to go on. A second Ctrl-C stops at once. With --keep the state also survives kill -9 and crashes: the same command with the same file finds its experiment in the state folder and goes on; one that is done has its results written again; of one that failed or was cancelled, what is not done is taken up again. Another file, --set or --segment-tasks is another experiment, which reuses the runs that are finished in the same state folder and are the same to the bit; --no-reuse makes them again.

A file may include others, whose fields it changes as an arm does: include: base.yaml, or a list. docs/experiment.md has every field.

Ends with 1 if a run failed. Runs that diverged and claims that do not hold are results, not failures; --strict makes the former failures.

` + app.FolderHelp
}

func (c *RunCmd) Run(ctx context.Context, a *app.App) error {
	if c.Workers < 0 {
		return app.Usagef("--workers must not be negative")
	}
	if c.Lanes < 0 {
		return app.Usagef("--lanes must not be negative")
	}
	spec, plan, err := c.plan(a)
	if err != nil {
		return err
	}
	return c.finish(ctx, a, spec, plan)
}

// finish lives through the experiment, saves its results and prints them.
func (c *RunCmd) finish(ctx context.Context, a *app.App, spec *pb.ExperimentSpec, plan *experiment.Plan) error {
	if err := results.CheckWritable(c.Out); err != nil {
		return err
	}
	dir := ""
	l, err := c.Live(ctx, a, spec, plan, func(ctx context.Context, s *wiring.Stack, r *results.Result) (err error) {
		metrics := s.MetricsAPI
		if !c.Steps {
			metrics = nil
		}
		if slices.Contains(spec.GetPublish(), component.Weights) {
			r.WithWeights(s.API)
		}
		dir, err = r.WriteFolder(ctx, c.Out, metrics)
		return err
	})
	if l == nil {
		return err
	}
	write := l.WriteText
	if c.JSON() {
		write = l.WriteJSON
	}
	if err := errors.Join(err, write(a.Out)); err != nil {
		return err
	}
	fmt.Fprintf(a.Progress, "results are in %s\n", dir)
	if l.kept {
		fmt.Fprintf(a.Progress, "the state is kept in %s\n", l.state)
	}
	if err := a.Complete(l.Result, "the same command again computes them again"); err != nil {
		return err
	}
	if p := l.Experiment.GetProgress(); p.GetRunsFailed() > 0 {
		return fmt.Errorf("%d of %d runs failed", p.GetRunsFailed(), p.GetRuns())
	}
	return c.Verdict(l.Experiment)
}

// lived is an experiment that has ended.
type lived struct {
	*results.Result
	state   string // folder of the state
	kept    bool   // it is still there
	Resumed bool   // some of it was there before
	Elapsed time.Duration
}

// Live starts a cluster in this process, lives through the experiment, and
// hands its results to save while the services are still there. Unless that
// succeeds the state is kept, and a message says how to resume. There may
// be results beside an error, of closing down.
func (c *RunCmd) Live(ctx context.Context, a *app.App, spec *pb.ExperimentSpec, plan *experiment.Plan, save func(context.Context, *wiring.Stack, *results.Result) error) (l *lived, err error) {
	log := a.Logger(slog.LevelWarn)
	dataDir, err := c.ensureData(ctx, a, plan)
	if err != nil {
		return nil, err
	}
	state, throwaway, err := c.state(spec)
	if err != nil {
		return nil, err
	}
	// A throwaway folder is only kept if there is something in it to go on with.
	keep := !throwaway
	defer func() {
		if !keep {
			if err := os.RemoveAll(state); err != nil {
				log.Warn("remove the state folder", "dir", state, "error", err)
			}
		}
	}()

	started := time.Now()
	s, err := wiring.StartStack(ctx, log, wiring.StackConfig{
		Dir: state, Throwaway: throwaway, Etcd: c.Etcd, Blob: c.Blob, Data: dataDir, Workers: wiring.WorkersOr(c.Workers), Lanes: c.Lanes,
		Addresses: c.Addresses, FreePorts: true, Pprof: c.Pprof,
	})
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.Progress, "coordinator %s, metrics %s, live view %s\n", s.Coordinator, s.Metrics, s.LiveView())
	r, resumed, err := c.experiment(ctx, a, s, spec, state, save)
	if err != nil {
		keep = c.goOn(ctx, a, s, state) || keep
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	if r == nil {
		return nil, err
	}
	return &lived{r, state, keep, resumed, time.Since(started)}, err
}

// plan reads the file and checks it.
func (c *RunCmd) plan(a *app.App) (*pb.ExperimentSpec, *experiment.Plan, error) {
	file, err := a.ReadSpecAndData(c.File, c.FileFlags, c.SegmentTasks, c.DataFlag)
	if err != nil {
		return nil, nil, err
	}
	spec := file.Spec
	c.Ask(spec)
	c.Source = file.Source
	plan, err := experiment.Expand(spec)
	if err != nil {
		return nil, nil, experiment.InFile(c.File, err)
	}
	if err := app.CheckWeights(plan); err != nil {
		return nil, nil, experiment.InFile(c.File, err)
	}
	a.SayWhatIsSkipped(plan)
	return spec, plan, nil
}

// ensureData fetches the datasets that the experiment needs.
func (c *RunCmd) ensureData(ctx context.Context, a *app.App, plan *experiment.Plan) (dir string, err error) {
	if dir, err = c.Folder(); err != nil {
		return "", err
	}
	var names []string
	for _, t := range plan.Trials {
		names = append(names, t.Spec.Datasets()...)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return dir, nil
	}
	return dir, datastore.Ensure(ctx, names, dir, a.Logger(slog.LevelInfo))
}

// state makes the folder of the state.
func (c *RunCmd) state(spec *pb.ExperimentSpec) (dir string, throwaway bool, err error) {
	switch {
	case c.StateDir != "":
		dir = c.StateDir
	case c.Keep || len(c.Etcd) > 0:
		if dir, err = filepath.Abs(filepath.Join(".neoteny", spec.GetName()+"-"+Digest(spec, "")[:12])); err != nil {
			return "", false, err
		}
	default:
		// Beside the results, since there is room for them there, and not in a
		// temporary folder, which may be memory.
		dir, err = os.MkdirTemp(c.Out, ".state-"+spec.GetName()+"-*")
		if err != nil {
			return "", false, fmt.Errorf("make a folder for the state in %s: %w", c.Out, err)
		}
		return dir, true, nil
	}
	return dir, false, wiring.StateDir(dir)
}

// Digest identifies an experiment by its content.
func Digest(spec *pb.ExperimentSpec, salt string) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("cli: marshal a spec: %v", err)) // it was parsed a moment ago
	}
	return SHA256Hex(string(b) + salt)
}

func SHA256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// maxRestarts bounds how often an experiment can be started anew in one state.
const maxRestarts = 1000

// submit hands the experiment in under a name made of its content, so that the
// one which is in the state already is found again; resumed says that it was.
func (c *RunCmd) submit(ctx context.Context, a *app.App, s *wiring.Stack, spec *pb.ExperimentSpec, state string) (e *pb.Experiment, resumed bool, err error) {
	salt := ""
	if len(c.Etcd) > 0 {
		salt = state // others may use that etcd with checkpoints elsewhere
	}
	name := "run-" + Digest(spec, salt)[:32]
	for n := 1; n <= maxRestarts; n++ {
		id := name
		if n > 1 {
			id = fmt.Sprintf("%s-%d", name, n)
		}
		resp, err := s.API.SubmitExperiment(ctx, &pb.SubmitExperimentRequest{RequestId: id, Spec: spec, Source: c.Source, NoReuse: c.NoReuse})
		if err != nil {
			return nil, false, app.InFile(c.File, err)
		}
		e := resp.GetExperiment()
		p := e.GetProgress()
		switch {
		case !resp.GetExisted():
			return e, false, nil
		case e.GetState() == pb.ExperimentState_EXPERIMENT_STATE_FAILED, e.GetState() == pb.ExperimentState_EXPERIMENT_STATE_CANCELLED:
			if again, err := c.retry(ctx, a, s, e); again != nil || err != nil {
				return again, true, err
			}
			fmt.Fprintf(a.Progress, "%s has ended as %s before; starting anew\n", e.GetId(), results.StateName(e.GetState()))
			continue
		case e.GetState() == pb.ExperimentState_EXPERIMENT_STATE_DONE:
			fmt.Fprintf(a.Progress, "%s is done already, in %s\n", e.GetId(), state)
		default:
			fmt.Fprintf(a.Progress, "going on with %s: %d of %d tasks are committed in %s\n", e.GetId(), p.GetTasksDone(), p.GetTasks(), state)
		}
		return e, true, nil
	}
	return nil, false, fmt.Errorf("%s holds %d failed attempts at this experiment; give another --state-dir", state, maxRestarts)
}

// retry takes up again what of an experiment failed or was cancelled; nil where that
// cannot be: its runs are of another numerics version.
func (c *RunCmd) retry(ctx context.Context, a *app.App, s *wiring.Stack, e *pb.Experiment) (*pb.Experiment, error) {
	runs, err := results.ListRuns(ctx, s.API, &pb.ListRunsRequest{Experiment: e.GetId()})
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(runs, func(r *pb.Run) bool { return r.GetNumericsVersion() != engine.NumericsVersion }) {
		return nil, nil
	}
	resp, err := s.API.RetryExperiment(ctx, &pb.RetryExperimentRequest{Id: e.GetId()})
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.Progress, "%s has ended as %s before; %d runs are taken up again\n", e.GetId(), results.StateName(e.GetState()), resp.GetRuns())
	return resp.GetExperiment(), nil
}

// experiment runs the experiment on the stack and saves its results.
func (c *RunCmd) experiment(ctx context.Context, a *app.App, s *wiring.Stack, spec *pb.ExperimentSpec, state string, save func(context.Context, *wiring.Stack, *results.Result) error) (r *results.Result, resumed bool, err error) {
	ctx, cancel := s.With(ctx)
	defer cancel()
	var e *pb.Experiment
	if c.begin != nil {
		resumed = true
		e, err = c.begin(ctx, s)
	} else {
		e, resumed, err = c.submit(ctx, a, s, spec, state)
	}
	if err == nil {
		_, err = a.Follow(ctx, s.API, e.GetId(), app.FollowOptions{Live: s.Counters.StepsMade})
	}
	if err == nil {
		r, err = results.Fetch(ctx, s.API, e.GetId())
	}
	if err == nil {
		err = save(ctx, s, r)
	}
	if err == nil && len(r.Lost) > 0 { // of what was made before, in this state
		r, err = a.Remake(ctx, s.API, r, app.FollowOptions{Live: s.Counters.StepsMade}, func(r *results.Result) error { return save(ctx, s, r) })
	}
	if err != nil {
		return nil, resumed, causeOf(ctx, err)
	}
	return r, resumed, nil
}

// causeOf prefers what ended a context over what calls made of that.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// drainQuery bounds the question for what was committed at the end.
const drainQuery = 2 * time.Second

// goOn drains the workers and says what is kept and how to go on with it. It
// returns whether the state is worth keeping.
func (c *RunCmd) goOn(ctx context.Context, a *app.App, s *wiring.Stack, state string) bool {
	s.StopWorkers()
	qctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainQuery)
	defer cancel()
	p := drained(qctx, s.API)
	if p.GetStepsDone() == 0 && s.Counters.StepsMade() == 0 {
		return false
	}
	if p.GetStepsDone() > 0 {
		fmt.Fprintf(a.Progress, "%d of %d tasks are committed and kept in %s\n", p.GetTasksDone(), p.GetTasks(), state)
	} else {
		fmt.Fprintf(a.Progress, "what was committed is kept in %s\n", state)
	}
	if c.File != "-" {
		fmt.Fprintf(a.Progress, "to go on: %s\n", c.Again(a.Args, state))
	}
	if bytes, _, err := sizeOf(state); err == nil && !c.Keep && c.StateDir == "" && len(c.Etcd) == 0 {
		fmt.Fprintf(a.Progress, "to remove it (%s): neoteny clean --yes %s\n", render.Bytes(bytes), quote(state))
	}
	return true
}

// drained returns the progress of the newest experiment when the coordinator
// has seen all that the workers gave back, or what it has seen when ctx ends.
func drained(ctx context.Context, api pb.ExperimentServiceClient) (last *pb.Progress) {
	for {
		list, err := api.ListExperiments(ctx, &pb.ListExperimentsRequest{PageSize: 1})
		if err != nil || len(list.GetExperiments()) == 0 {
			return last
		}
		if last = list.GetExperiments()[0].GetProgress(); last.GetSegmentsAssigned() == 0 {
			return last
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Again is the command line that goes on with the state.
func (c *RunCmd) Again(args []string, state string) string {
	out := []string{"neoteny"}
	for _, arg := range args {
		out = append(out, quote(arg))
	}
	if !c.Keep && c.StateDir == "" && len(c.Etcd) == 0 {
		out = append(out, "--state-dir", quote(state))
	}
	return strings.Join(out, " ")
}

// quote makes an argument safe for a shell.
func quote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@%+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
