package datastore

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/data"
)

func TestImportFolder(t *testing.T) {
	f := newFake()
	for name, lay := range map[string]func(dir string){
		"compressed": func(dir string) { f.write(t, dir) },
		"in a folder named after the dataset": func(dir string) {
			f.write(t, filepath.Join(dir, "fake"))
		},
		"plain": func(dir string) {
			for name, b := range f.content {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
			}
		},
		"plain with dots": func(dir string) {
			for name, b := range f.content {
				require.NoError(t, os.WriteFile(filepath.Join(dir, strings.Replace(name, "-idx", ".idx", 1)), b, 0o644))
			}
		},
		"plain under the compressed name": func(dir string) {
			for name, b := range f.content {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name+".gz"), b, 0o644))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, from := f.store(t), t.TempDir()
			lay(from)
			require.NoError(t, s.importDataset(t.Context(), "fake", from))
			requireImported(t, s, f)
			// Once imported, the source is not looked at again.
			require.NoError(t, s.importDataset(t.Context(), "fake", "/nonexistent"))
		})
	}
}

func TestImportReplacesWhatIsDamagedOnly(t *testing.T) {
	f := newFake()
	s, from := f.store(t), t.TempDir()
	f.write(t, from)
	f.write(t, filepath.Join(s.dir, "fake"))
	damaged := filepath.Join(s.dir, "fake", "t10k-labels-idx1-ubyte.gz")
	require.NoError(t, os.WriteFile(damaged, []byte("junk"), 0o644))
	require.NoError(t, os.Remove(filepath.Join(s.dir, "fake", "train-labels-idx1-ubyte.gz")))
	// The source lacks what is intact, so that reading it would fail.
	require.NoError(t, os.Remove(filepath.Join(from, "train-images-idx3-ubyte.gz")))
	require.NoError(t, s.importDataset(t.Context(), "fake", from))
	requireImported(t, s, f)
}

func TestImportFolderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(t *testing.T, f *fake, dir string)
		want string
	}{
		"no such folder": {func(t *testing.T, _ *fake, dir string) { require.NoError(t, os.RemoveAll(dir)) }, "no such file"},
		"file absent": {func(t *testing.T, _ *fake, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "train-images-idx3-ubyte.gz")))
		}, "has no file train-images-idx3-ubyte.gz or train-images-idx3-ubyte"},
		"file is a folder": {func(t *testing.T, _ *fake, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "train-images-idx3-ubyte.gz")))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "train-images-idx3-ubyte.gz"), 0o755))
		}, "not a regular file"},
		"altered": {func(t *testing.T, f *fake, dir string) {
			b := slices.Clone(f.content["train-images-idx3-ubyte"])
			b[17]++
			require.NoError(t, os.WriteFile(filepath.Join(dir, "train-images-idx3-ubyte.gz"), compress(b), 0o644))
		}, "is not the published file: SHA-256"},
		"cut short": {func(t *testing.T, f *fake, dir string) {
			b := compress(f.content["train-images-idx3-ubyte"])
			require.NoError(t, os.WriteFile(filepath.Join(dir, "train-images-idx3-ubyte.gz"), b[:len(b)-9], 0o644))
		}, "is not the published file"},
		"empty": {func(t *testing.T, _ *fake, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "train-images-idx3-ubyte.gz"), nil, 0o644))
		}, "is not the published file: ends after 0 of"},
		"endless": {func(t *testing.T, _ *fake, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "train-images-idx3-ubyte.gz"), make([]byte, 1<<20), 0o644))
		}, "is not the published file: holds more than"},
		"endless gzip": {func(t *testing.T, _ *fake, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "train-images-idx3-ubyte.gz"), compress(make([]byte, 1<<20)), 0o644))
		}, "is not the published file: holds more than"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			s, from := f.store(t), t.TempDir()
			f.write(t, from)
			c.edit(t, f, from)
			err := s.importDataset(t.Context(), "fake", from)
			require.ErrorContains(t, err, "import dataset fake: ")
			require.ErrorContains(t, err, c.want)
			require.Empty(t, tree(t, s.dir))
		})
	}
}

func TestImportSingleFile(t *testing.T) {
	f := newFake()
	s, from := f.store(t), t.TempDir()
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	i := 0
	for name, b := range f.content { // under any name, in any order
		path := filepath.Join(from, string(rune('a'+i)))
		require.NoError(t, os.WriteFile(path, b, 0o644))
		require.NoError(t, s.importDataset(t.Context(), "fake", path))
		i++
		require.FileExists(t, filepath.Join(s.dir, "fake", name+".gz"))
		require.Equal(t, i < 4, strings.Contains(log.String(), "still lacks"))
		log.Reset()
	}
	requireImported(t, s, f)

	s = f.store(t)
	path := filepath.Join(from, "other")
	require.NoError(t, os.WriteFile(path, []byte("nothing known"), 0o644))
	require.ErrorContains(t, s.importDataset(t.Context(), "fake", path), "content of no file of it")
	require.Empty(t, tree(t, s.dir))
}

func TestImportURL(t *testing.T) {
	f := newFake()
	served := t.TempDir()
	f.write(t, filepath.Join(served, "some/where"))
	server := httptest.NewServer(http.FileServer(http.Dir(served)))
	defer server.Close()

	for _, path := range []string{"/some/where", "/some/where/"} {
		s := f.store(t)
		require.NoError(t, s.importDataset(t.Context(), "fake", server.URL+path))
		requireImported(t, s, f)
	}
	s := f.store(t)
	err := s.importDataset(t.Context(), "fake", server.URL+"/else")
	require.ErrorContains(t, err, "get "+server.URL+"/else/train-images-idx3-ubyte.gz: 404 Not Found")
	require.Empty(t, tree(t, s.dir))
}

func TestImportFromMirrors(t *testing.T) {
	f := newFake()
	served := t.TempDir()
	f.write(t, served)
	server := httptest.NewServer(http.FileServer(http.Dir(served)))
	defer server.Close()

	s := f.store(t)
	s.origins["fake"] = origin{mirrors: []string{server.URL + "/gone", server.URL}}
	require.NoError(t, s.importDataset(t.Context(), "fake", FromMirrors))
	requireImported(t, s, f)

	s = f.store(t)
	s.origins["fake"] = origin{mirrors: []string{server.URL + "/gone"}}
	err := s.importDataset(t.Context(), "fake", FromMirrors)
	require.ErrorContains(t, err, "404 Not Found")
	require.ErrorContains(t, err, "`neoteny data import fake --from FOLDER`")
	s.origins["fake"] = origin{}
	require.ErrorContains(t, s.importDataset(t.Context(), "fake", FromMirrors), "no mirror is known")
}

func TestImportURLRefuses(t *testing.T) {
	f := newFake()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"a page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>sign in") }, "is not the published file"},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, "is not the published file: holds more than"},
		"cut connection": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(compress(f.content["train-images-idx3-ubyte"])[:10])
		}, "unexpected EOF"},
		"server error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "502 Bad Gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			s := f.store(t)
			require.ErrorContains(t, s.importDataset(t.Context(), "fake", server.URL), c.want)
			require.Empty(t, tree(t, s.dir))
		})
	}
	s := f.store(t)
	require.Error(t, s.importDataset(t.Context(), "fake", "http://[bad"))
}

func TestImportCancelled(t *testing.T) {
	f := newFake()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		cancel() // while the body is awaited
		<-r.Context().Done()
	}))
	defer server.Close()
	s := f.store(t)
	require.ErrorIs(t, s.importDataset(ctx, "fake", server.URL), context.Canceled)
	require.Empty(t, tree(t, s.dir))

	from := t.TempDir()
	f.write(t, from)
	require.ErrorIs(t, s.importDataset(ctx, "fake", from), context.Canceled)
	require.Empty(t, tree(t, s.dir))
}

func TestImportIntoWhatIsNoFolder(t *testing.T) {
	f := newFake()
	s, from := f.store(t), t.TempDir()
	f.write(t, from)
	require.NoError(t, os.WriteFile(s.dir, nil, 0o644))
	s.origins["fake"] = origin{folder: from, module: "example.com/never@v1.0.0"}
	s.goCommand = "/nonexistent/go"
	err := s.importDataset(t.Context(), "fake", "")
	require.ErrorContains(t, err, "write data folder")
	require.NotContains(t, err.Error(), "Go module", "no other origin helps with an unwritable data folder")
}

func TestPackTellsReadingFromWriting(t *testing.T) {
	file := newFake().meta.Files[0]
	broken := errors.New("broken")
	var w *writeError
	err := pack(io.Discard, iotest.ErrReader(broken), file)
	require.ErrorIs(t, err, broken)
	require.NotErrorAs(t, err, &w)
	for _, content := range [][]byte{compress([]byte("a")), []byte("plain")} {
		err = pack(brokenWriter{broken}, bytes.NewReader(content), file)
		require.ErrorIs(t, err, broken)
		require.ErrorAs(t, err, &w)
	}
}

type brokenWriter struct{ err error }

func (b brokenWriter) Write([]byte) (int, error) { return 0, b.err }

// goProxy lays out the module proxy protocol in a folder, which the real go tool then downloads from.
func goProxy(t *testing.T, module, version string, files map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, filepath.FromSlash(module), "@v")
	require.NoError(t, os.MkdirAll(at, 0o755))
	mod := []byte("module " + module + "\n")
	require.NoError(t, os.WriteFile(filepath.Join(at, version+".info"), []byte(`{"Version":"`+version+`"}`), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(at, version+".mod"), mod, 0o644))
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range files {
		w, err := z.Create(module + "@" + version + "/" + name)
		require.NoError(t, err)
		_, err = w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	require.NoError(t, os.WriteFile(filepath.Join(at, version+".zip"), b.Bytes(), 0o644))

	cache := filepath.Join(t.TempDir(), "modcache")
	t.Cleanup(func() { // the go tool makes it read-only, which TempDir's own clean-up cannot remove
		_ = filepath.WalkDir(cache, func(path string, d fs.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				_ = os.Chmod(path, 0o755)
			}
			return nil
		})
	})
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(dir))
	t.Setenv("GOMODCACHE", cache)
	t.Setenv("GONOPROXY", "none")
	// What a user's environment may hold and must not matter:
	t.Setenv("GOFLAGS", "-mod=vendor")
	t.Setenv("GO111MODULE", "off")
	t.Setenv("GOSUMDB", "sum.golang.org")
}

func TestImportByGoTool(t *testing.T) {
	f := newFake()
	files := map[string][]byte{"go.mod": []byte("module example.com/fake\n")}
	for name, b := range f.content {
		files["data/"+name+".gz"] = compress(b)
	}
	goProxy(t, "example.com/fake", "v1.2.3", files)
	s := f.store(t)
	s.origins["fake"] = origin{module: "example.com/fake@v1.2.3", within: "data", folder: "/nonexistent"}
	require.NoError(t, s.importDataset(t.Context(), "fake", ""))
	requireImported(t, s, f)
}

func TestImportKnownNowhere(t *testing.T) {
	f := newFake()
	goProxy(t, "example.com/fake", "v1.2.3", map[string][]byte{"go.mod": []byte("module example.com/fake\n")})
	for name, c := range map[string]struct {
		origin    origin
		goCommand string
		want      []string
	}{
		"version not there": {
			origin{module: "example.com/fake@v9.0.0", within: "data", mirrors: []string{"https://example.com/x/"}}, "go",
			[]string{"Go module example.com/fake@v9.0.0: ", "`neoteny data import fake --from https://example.com/x/`", "`neoteny data import fake --from FOLDER`"},
		},
		"module without the files": {
			origin{module: "example.com/fake@v1.2.3", within: "data"}, "go",
			[]string{"has no file train-images-idx3-ubyte.gz", "`neoteny data import fake --from FOLDER`"},
		},
		"no go tool": {
			origin{module: "example.com/fake@v1.2.3"}, "no-such-go-tool",
			[]string{"the go tool is needed", "no-such-go-tool"},
		},
		"system folder not there": {
			origin{folder: "/nonexistent/fake", install: "apt-get install fake"}, "go",
			[]string{"/nonexistent/fake", "run `apt-get install fake` and then `neoteny data import fake`"},
		},
		"no origin": {origin{}, "go", []string{"run `neoteny data import fake --from FOLDER`"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := f.store(t)
			s.origins["fake"], s.goCommand = c.origin, c.goCommand
			err := s.importDataset(t.Context(), "fake", "")
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "\n")
			require.Empty(t, tree(t, s.dir))
		})
	}
}

func TestImportFromSystemFolder(t *testing.T) {
	f := newFake()
	s, folder := f.store(t), t.TempDir()
	f.write(t, folder)
	s.origins["fake"] = origin{folder: folder}
	s.goCommand = "no-such-go-tool"
	require.NoError(t, s.importDataset(t.Context(), "fake", ""))
	requireImported(t, s, f)
}

// An archive keeps its bytes: it is neither compressed again nor unpacked.
func TestImportKeepsArchivesAsTheyAre(t *testing.T) {
	for name, content := range map[string][]byte{"a.tar.gz": compress([]byte("not looked into")), "a.zip": []byte("PK, or so")} {
		sum := sha256.Sum256(content)
		s := newFake().store(t)
		s.catalogue = []data.Meta{{Name: "packed", Format: data.CIFAR, Files: []data.File{{Name: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(content))}}}}
		from := t.TempDir()
		require.Error(t, s.importDataset(t.Context(), "packed", from))
		require.NoError(t, os.WriteFile(filepath.Join(from, name), append(content, 1), 0o644))
		require.ErrorContains(t, s.importDataset(t.Context(), "packed", from), "is not the published file")
		require.NoError(t, os.WriteFile(filepath.Join(from, name), content, 0o644))
		require.NoError(t, s.importDataset(t.Context(), "packed", from))
		require.NoError(t, s.verify("packed"))
		kept, err := os.ReadFile(filepath.Join(s.dir, "packed", name))
		require.NoError(t, err)
		require.Equal(t, content, kept)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "packed", name), content[1:], 0o644))
		require.ErrorAs(t, s.verify("packed"), new(*data.CorruptError))
	}
}
