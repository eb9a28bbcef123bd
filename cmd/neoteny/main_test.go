package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"neoteny/cmd/neoteny/internal/cli"
	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/internal/leaktest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"neoteny": func() {
			code := cli.Main(os.Args[1:], app.Standard())
			// A process that ends cleanly has stopped all that it started.
			if err := leaktest.Find(ignored()...); err != nil {
				os.Stderr.WriteString("LEAK: " + err.Error() + "\n")
				code = 99
			}
			os.Exit(code)
		},
	})
}

// ignored are goroutines of dependencies that live as long as the process.
func ignored() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreTopFunction("os/signal.loop"),
		goleak.IgnoreTopFunction("os/signal.signal_recv"),
		goleak.IgnoreAnyFunction("os/signal.signal_recv"),
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "glob1": glob1, "interrupt": interrupt, "damage": damage, "edit": edit, "editstep": editStep,
		},
		Setup: func(e *testscript.Env) error {
			// Nothing of the machine's own gets in: no data folder, no settings.
			e.Setenv("HOME", e.Getenv("WORK"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.Getenv("WORK"), "cache"))
			return nil
		},
	})
}

// exits runs a command and checks its exit code: exits 2 neoteny run.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command [arg...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// edit replaces the first match of a pattern in a file: edit file pattern text.
func edit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit file pattern text")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	text := ts.ReadFile(args[0])
	at := pattern.FindStringIndex(text)
	if at == nil {
		ts.Fatalf("%s has no match of %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text[:at[0]]+args[2]+text[at[1]:]), 0o644))
}

// editStep changes a value of the per-step data: editstep file row value.
func editStep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: editstep file row value")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	v, err := strconv.ParseFloat(args[2], 32)
	ts.Check(err)
	rows, err := parquet.ReadFile[stepRow](ts.MkAbs(args[0]))
	ts.Check(err)
	rows[n].Value = float32(v)
	ts.Check(parquet.WriteFile(ts.MkAbs(args[0]), rows))
}

// stepRow is a row of the per-step data.
type stepRow struct {
	Experiment string  `parquet:"experiment"`
	Arm        string  `parquet:"arm"`
	Trial      string  `parquet:"trial"`
	Params     string  `parquet:"params"`
	Stage      string  `parquet:"stage"`
	Seed       int64   `parquet:"seed"`
	Task       int32   `parquet:"task"`
	Step       int64   `parquet:"step"`
	Metric     string  `parquet:"metric"`
	Layer      string  `parquet:"layer"`
	Value      float32 `parquet:"value"`
}

// glob1 puts the only file that matches into a variable: glob1 results/x-* dir.
func glob1(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: glob1 pattern variable")
	}
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%s matches %q, want one file", args[0], found)
	}
	ts.Setenv(args[1], found[0])
}

// interrupt runs a command, sends it an interrupt when the first checkpoint is
// in the state below a folder, and checks its exit code; standard error goes to
// a file: interrupt folder code file command [arg...].
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: interrupt folder code file command [arg...]")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	program := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) { // the script's, with the program under test
		if p, err := exec.LookPath(filepath.Join(dir, args[3])); err == nil {
			program = p
			break
		}
	}
	var stdout, stderr bytes.Buffer
	c := exec.Command(program, args[4:]...)
	c.Dir, c.Stdout, c.Stderr = ts.MkAbs("."), &stdout, &stderr
	for _, k := range []string{"HOME", "PATH", "XDG_CACHE_HOME", "TMPDIR"} {
		c.Env = append(c.Env, k+"="+ts.Getenv(k))
	}
	ts.Check(c.Start())
	done := make(chan struct{})
	go func() {
		_ = c.Wait() // the exit code is looked at below
		close(done)
	}()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(2 * time.Minute)
	for sent := false; ; {
		select {
		case <-done:
			ts.Check(os.WriteFile(ts.MkAbs(args[2]), stderr.Bytes(), 0o644))
			ts.Logf("[stdout]\n%s[stderr]\n%s", stdout.String(), stderr.String())
			if got := c.ProcessState.ExitCode(); got != want {
				ts.Fatalf("exit code %d, want %d", got, want)
			}
			if stdout.Len() > 0 {
				ts.Fatalf("an interrupted run has no results")
			}
			return
		case <-limit:
			_ = c.Process.Kill()
			ts.Fatalf("%s did not end; stderr:\n%s", args[3], stderr.String())
		case <-tick.C:
			if !sent && hasCheckpoint(ts.MkAbs(args[0])) {
				sent = true
				ts.Check(c.Process.Signal(os.Interrupt))
			}
		}
	}
}

// hasCheckpoint reports whether a state folder below dir holds a checkpoint.
func hasCheckpoint(dir string) bool {
	blobs, _ := filepath.Glob(filepath.Join(dir, ".state-*", "blob", "checkpoints"))
	found := false
	for _, b := range blobs {
		_ = filepath.WalkDir(b, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && filepath.Ext(d.Name()) == ".safetensors" {
				found = true
				return fs.SkipAll
			}
			return nil // what is being renamed may be gone
		})
	}
	return found
}
