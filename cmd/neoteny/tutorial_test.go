package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTutorial does what docs/tutorial.md says, word for word: a block of code that
// names a file is written to it, and in a console block a line that begins with $ is a
// command, which must print the lines under it. A line of … stands for any lines. Ids
// and numbers of files differ from run to run and from version to version; nothing else
// does.
func TestTutorial(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("the tutorial's commands are for a shell, and there is none")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "tutorial.md"))
	require.NoError(t, err)
	work, programs := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(programs, "neoteny"))) // see TestMain
	env := append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "HOME="+work, "XDG_CACHE_HOME="+filepath.Join(work, ".cache"))
	ran := 0
	for _, b := range blocks(string(text)) {
		kind, name, _ := strings.Cut(b.info, " ")
		switch {
		case name != "":
			require.NoError(t, os.WriteFile(filepath.Join(work, name), []byte(b.text), 0o644))
		case kind == "console":
			for _, step := range steps(b.text) {
				ran++
				var out, errs bytes.Buffer
				c := exec.Command(shell, "-c", step.command)
				c.Dir, c.Env, c.Stdout, c.Stderr = work, env, &out, &errs
				failed := c.Run() != nil
				for line := range strings.Lines(errs.String()) {
					if strings.HasPrefix(line, "neoteny: ") {
						out.WriteString(line)
					}
				}
				require.Equal(t, strings.Contains("\n"+step.output, "\nneoteny: "), failed,
					"$ %s\n%s%s", step.command, out.String(), errs.String())
				if want, have := step.output, out.String(); !matches(want, have) {
					require.Equal(t, normal(want), normal(have), "$ %s\n%s", step.command, errs.String())
				}
			}
		}
	}
	require.Greater(t, ran, 10, "the tutorial's commands were not found")
}

type block struct{ info, text string }

// blocks are the fenced blocks of code of a text.
func blocks(text string) (out []block) {
	for _, part := range regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		out = append(out, block{part[1], part[2]})
	}
	return out
}

type step struct{ command, output string }

// steps are the commands of a console block. A line that begins with "> " goes on with
// the command.
func steps(text string) (out []step) {
	for line := range strings.Lines(text) {
		switch command, begins := strings.CutPrefix(line, "$ "); {
		case begins:
			out = append(out, step{command: command})
		case strings.HasPrefix(line, "> ") && out[len(out)-1].output == "":
			out[len(out)-1].command += line[2:]
		default:
			out[len(out)-1].output += line
		}
	}
	return out
}

var (
	id     = regexp.MustCompile(`colours-[a-z0-9]{6}`)
	within = regexp.MustCompile(`[0-9]+ of [0-9]+ files`)
	spaces = regexp.MustCompile(`[ \t]+`)
)

// normal is a text without what differs from run to run.
func normal(text string) string {
	text = id.ReplaceAllString(text, "colours-ID")
	text = within.ReplaceAllString(text, "N of N files")
	text = spaces.ReplaceAllString(text, " ")
	return strings.ReplaceAll(strings.TrimSpace(text), " \n", "\n")
}

// matches holds what was printed against what is to be printed.
func matches(want, have string) bool {
	var pattern strings.Builder
	pattern.WriteString(`(?s)^`)
	for i, part := range strings.Split(normal(want), "…") {
		if i > 0 {
			pattern.WriteString(`.*`)
		}
		pattern.WriteString(regexp.QuoteMeta(part))
	}
	pattern.WriteString(`$`)
	return regexp.MustCompile(pattern.String()).MatchString(normal(have))
}
