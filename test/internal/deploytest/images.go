package deploytest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
)

// The names under which deploy/ has the images.
const (
	Image     = "neoteny:dev"
	EtcdImage = "quay.io/coreos/etcd:v3.7.3"
	// DataImage is the program with MNIST beside it: what fills a volume where
	// the mirrors cannot be reached.
	DataImage = "neoteny-data:test"
)

// Docker is the command of the Docker engine.
func Docker(t *testing.T) string {
	t.Helper()
	docker := Tool(t, "docker", "DOCKER")
	_, err := Try(t, nil, docker, "info")
	require.NoError(t, err, "the Docker engine must run")
	return docker
}

// Images makes what is missing of the images of a cluster: etcd's is made from
// its Go module where it is not there, under the name that the files use.
func Images(t *testing.T) {
	t.Helper()
	docker := Docker(t)
	_, err := Try(t, nil, docker, "image", "inspect", Image)
	require.NoError(t, err, "run this test by its make target, which makes the image")
	if _, err := Try(t, nil, docker, "image", "inspect", EtcdImage); err != nil {
		BuildImage(t, EtcdImage, "FROM scratch\nCOPY etcd etcdctl /usr/local/bin/\n",
			map[string]string{"etcd": Built(t, "etcd"), "etcdctl": Built(t, "etcdctl")})
	}
	data := filepath.Join(t.TempDir(), "data")
	Run(t, Built(t, "neoteny"), "data", "import", "mnist", "--data", data)
	files := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(data, "mnist"))
	require.NoError(t, err)
	for _, e := range entries {
		files[filepath.Join("mnist", e.Name())] = filepath.Join(data, "mnist", e.Name())
	}
	BuildImage(t, DataImage, "FROM "+Image+"\nCOPY mnist /datasets/mnist\n", files)
}

// OtherImage is the program with an engine of the next numerics version.
const OtherImage = "neoteny-other:test"

// OtherNumerics makes [OtherImage].
func OtherNumerics(t *testing.T) {
	t.Helper()
	const file = "pkg/engine/life.go"
	b, err := os.ReadFile(filepath.Join(Root(t), file))
	require.NoError(t, err)
	other := strings.Replace(string(b), fmt.Sprintf("const NumericsVersion = %d", engine.NumericsVersion), fmt.Sprintf("const NumericsVersion = %d", engine.NumericsVersion+1), 1)
	require.NotEqual(t, string(b), other)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "life.go"), []byte(other), 0o644))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(Root(t), file): filepath.Join(dir, "life.go")}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644))
	program := filepath.Join(dir, "neoteny")
	Run(t, "env", "CGO_ENABLED=0", "GOOS=linux", "go", "build", "-trimpath", "-ldflags", "-s -w", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, "./cmd/neoteny")
	BuildImage(t, OtherImage, "FROM "+Image+"\nCOPY neoteny /neoteny\n", map[string]string{"neoteny": program})
}

// BuildImage makes an image of a Dockerfile and files (path in the context: path
// here).
func BuildImage(t *testing.T, name, dockerfile string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644))
	for to, from := range files {
		to = filepath.Join(dir, to)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, copyFile(to, from))
	}
	Run(t, Docker(t), "build", "-q", "-t", name, dir)
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm()|0o444)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// NoWarnings fails the test where kubectl or Compose warned of something.
func NoWarnings(t *testing.T, said string) {
	t.Helper()
	for line := range strings.Lines(said) {
		require.NotContains(t, strings.ToLower(line), "warning", "%s", said)
	}
}
