package schedule

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/services/coordinator/mirror"
)

var update = flag.Bool("update", false, "write what the scripts of testdata expect anew")

// TestScripts runs every file of testdata against a cluster that is a mirror
// alone: what the schedule decides is carried out on its records.
//
// A script is a list of steps, each a command with its input, a line of ----,
// and what it is expected to print, up to an empty line:
//
//	workers                             registers workers, or changes them
//	w1 slots=2 lanes=4
//	----
//
//	experiment e segment=2 confirm=7,8  an experiment with its trials; submitted
//	a tasks=4 seeds=0,1 pack=8          leaves it to be expanded
//	----
//	4 runs, 8 segments, 160 steps
//
// The others: pass looks and acts once, as the loop does, and prints the actions
// of upkeep and then those of assignment; upkeep and assign only print. commit,
// yield, diverge (at a step), fail and release do what workers do with segments: E/TRIAL/SEED is the
// last of a run's main track, E/TRIAL/SEED@STEP a deferred measurement. lose ends
// the leases of workers, cancel, delete and retry are what a user wants, clock moves the
// time on, config changes the configuration, why prints what users are shown.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			got := runScript(t, string(text))
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(text), got, "run with -update to rewrite %s", file)
		})
	}
}

// runScript returns a script with what its steps print.
func runScript(t *testing.T, text string) string {
	s := newSim(t)
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(strings.TrimRight(block, "\n"), "\n")
		code := slices.IndexFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "#") })
		end := slices.Index(lines, "----")
		if code < 0 { // a comment of its own
			out.WriteString(block + "\n\n")
			continue
		}
		require.GreaterOrEqual(t, end, 0, "no ---- in the step\n%s", block)
		words := strings.Fields(lines[code])
		printed := s.step(words[0], words[1:], lines[code+1:end])
		out.WriteString(strings.Join(slices.Concat(lines[:end+1], printed), "\n") + "\n\n")
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// step carries out one command and returns what it prints.
func (s *sim) step(command string, args, input []string) (out []string) {
	switch command {
	case "config":
		s.configure(args)
	case "clock":
		d, err := time.ParseDuration(args[0])
		require.NoError(s.t, err)
		s.now = s.now.Add(d)
	case "workers":
		for _, line := range input {
			s.register(strings.Fields(line))
		}
	case "lose":
		for _, id := range args {
			s.lose(id)
		}
	case "experiment":
		return s.submit(args, input)
	case "cancel", "delete":
		s.control(args[0], command)
	case "retry":
		s.retry(args[0], args[1:])
	case "commit", "yield", "diverge", "fail", "release":
		for _, line := range slices.Concat(input, []string{strings.Join(args, " ")}) {
			if line == "" {
				continue
			}
			if problem := s.work(command, strings.Fields(line)); problem != "" {
				out = append(out, problem)
			}
		}
	case "upkeep":
		return describe(s.snapshot().Upkeep(), true)
	case "assign":
		return describe(s.snapshot().Assign(), false)
	case "pass":
		return s.pass()
	case "why":
		return s.why(args)
	default:
		s.t.Fatalf("unknown command %q", command)
	}
	return out
}

// pass decides and acts as the loop does once.
func (s *sim) pass() (out []string) {
	up := s.snapshot().Upkeep()
	out = describe(up, true)
	for _, a := range up {
		s.do(a)
	}
	give := s.snapshot().Assign()
	for _, a := range give {
		s.do(a)
	}
	return append(out, describe(give, false)...)
}

// describe prints actions, one a line; those of upkeep are in no order.
func describe(actions []Action, sorted bool) (out []string) {
	for _, a := range actions {
		out = append(out, line(a))
	}
	if sorted {
		slices.Sort(out)
	}
	return out
}

func line(a Action) string {
	switch a := a.(type) {
	case Expand:
		return "expand " + a.Experiment.Id
	case CreateRuns:
		var runs []string
		for _, r := range a.Runs {
			_, name, _ := strings.Cut(r.Run.Id, "/")
			if r.Segment == nil {
				runs = append(runs, fmt.Sprintf("%s %s (%s)", name, mirror.RunStateName(r.Run.State), r.Run.Message))
				continue
			}
			name += steps(r.Segment.Ref)
			for _, in := range r.Run.Inputs {
				name += fmt.Sprintf(" %s=%s of %s", in.Name, in.Artifact, in.Run)
			}
			runs = append(runs, name)
		}
		return "create runs of " + a.Experiment + ": " + strings.Join(runs, ", ")
	case Continue:
		return fmt.Sprintf("continue %s from %s", name(a.Next.Ref), a.Next.Start.Key)
	case Fork:
		return fmt.Sprintf("fork %s from %q", name(a.Segment.Ref), a.Segment.Start.GetKey())
	case Assign:
		var segs []string
		for _, g := range a.Segments {
			segs = append(segs, name(g.Segment.Ref))
		}
		return fmt.Sprintf("assign to %s: %s", a.Worker, strings.Join(segs, ", "))
	case Requeue:
		return fmt.Sprintf("requeue %s of %s", name(a.Segment.Ref), a.Segment.Worker)
	case EndRun:
		return strings.TrimSuffix(fmt.Sprintf("end run %s %s: %s", a.Run.Id, mirror.RunStateName(a.Run.State), a.Run.Message), ": ")
	case Restart:
		from := "its first step"
		if a.GoOn {
			from = fmt.Sprintf("step %d", a.Run.Committed.Step)
		}
		return fmt.Sprintf("take up %s again from %s", a.Run.Id, from)
	case Forget:
		return "forget " + a.Run.Id
	case DeleteCheckpoints:
		var keys []string
		for _, g := range a.Segments {
			keys = append(keys, g.Result.Checkpoint.Key)
		}
		return fmt.Sprintf("delete checkpoints of %s: %s", a.Run, strings.Join(keys, ", "))
	case SelectTrials:
		return fmt.Sprintf("select trials of %s by %d runs", a.Experiment.Id, len(a.Runs))
	case EndExperiment:
		e := a.Experiment
		return strings.TrimSuffix(fmt.Sprintf("end experiment %s %s: %s", e.Id, mirror.StateName(e.State), e.Message), ": ")
	case DeleteExperiment:
		return "delete experiment " + a.Experiment.Id
	}
	return fmt.Sprintf("%T", a)
}

// why prints experiments with their runs as users are shown them.
func (s *sim) why(ids []string) (out []string) {
	show := func(what, state, message string) {
		out = append(out, strings.TrimSuffix(what+" "+state+": "+message, ": "))
	}
	for _, id := range ids {
		e := s.state.Experiments[id]
		if e == nil || e.Rec == nil {
			show(id, "unknown", "")
			continue
		}
		show(id, mirror.StateName(e.State()), s.snapshot().WhyExperiment(e, e.Progress().SegmentsAssigned))
		e.Wanted(0, 0, func(w mirror.Want, _, _ int) bool {
			v := e.Planned(w, s.cfg.NumericsVersion)
			if r := e.Runs[v.Id]; r != nil && r.Rec != nil {
				v = r.View()
				show("  "+v.Id, mirror.RunStateName(v.State), s.snapshot().WhyRun(r, v))
			} else {
				show("  "+v.Id, "not begun", s.snapshot().WhyNotBegun(e, w, v))
			}
			return true
		})
	}
	return out
}

// options splits words of the form key=value; a word alone is a switch.
func options(words []string) map[string]string {
	out := map[string]string{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		out[k] = v
	}
	return out
}

func (s *sim) number(text string, otherwise int64) int64 {
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(s.t, err)
	return n
}
