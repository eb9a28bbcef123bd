package datastore

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"neoteny/pkg/engine/data"
)

// opener opens one file of a dataset where it comes from, compressed or not, and says where that is.
type opener func(ctx context.Context, file data.File) (r io.ReadCloser, where string, err error)

func (s *store) importDataset(ctx context.Context, name, from string) error {
	meta, err := s.lookup(name)
	if err != nil {
		return err
	}
	if s.verify(name) == nil {
		s.log.InfoContext(ctx, "dataset is already there", "dataset", name, "folder", filepath.Join(s.dir, name))
		return nil
	}
	switch made, ok := s.recipes[name]; {
	case ok:
		err = s.importMade(ctx, meta, made, from)
	case from == "":
		err = s.importKnown(ctx, meta)
	case from == FromMirrors:
		err = s.importMirrors(ctx, meta)
	case strings.HasPrefix(from, "http://"), strings.HasPrefix(from, "https://"):
		err = s.importAll(ctx, meta, from, s.openURL(from))
	default:
		err = s.importLocal(ctx, meta, from)
	}
	if err != nil {
		// Leave no empty folders behind; those that hold something stay.
		_ = os.Remove(filepath.Join(s.dir, name))
		return fmt.Errorf("import dataset %s: %w", name, err)
	}
	return nil
}

// importKnown tries the origins that need no asking.
func (s *store) importKnown(ctx context.Context, meta data.Meta) error {
	o := s.origins[meta.Name]
	var reasons []string
	if o.folder != "" {
		_, err := os.Stat(o.folder)
		if err == nil {
			err = s.importAll(ctx, meta, o.folder, openFolder(o.folder, meta.Name))
		}
		if err == nil || final(ctx, err) {
			return err
		}
		reasons = append(reasons, err.Error())
	}
	if o.module != "" {
		s.log.InfoContext(ctx, "asking the go tool for the dataset", "dataset", meta.Name, "module", o.module)
		dir, err := s.moduleDir(ctx, o.module)
		if err == nil {
			dir = filepath.Join(dir, filepath.FromSlash(o.within))
			err = s.importAll(ctx, meta, dir, openFolder(dir, meta.Name))
		}
		if err == nil || final(ctx, err) {
			return err
		}
		reasons = append(reasons, fmt.Sprintf("Go module %s: %v", o.module, err))
	}
	reasons = append(reasons, o.advice(meta.Name))
	return errors.New(strings.Join(reasons, "; "))
}

// importMirrors tries the dataset's mirrors in order.
func (s *store) importMirrors(ctx context.Context, meta data.Meta) error {
	var reasons []string
	for _, m := range s.origins[meta.Name].mirrors {
		err := s.importAll(ctx, meta, m, s.openURL(m))
		if err == nil || final(ctx, err) {
			return err
		}
		s.log.WarnContext(ctx, "mirror failed", "dataset", meta.Name, "mirror", m, "error", err)
		reasons = append(reasons, err.Error())
	}
	if len(reasons) == 0 {
		reasons = append(reasons, "no mirror is known")
	}
	reasons = append(reasons, fmt.Sprintf("run `neoteny data import %s --from FOLDER` with a folder that holds its files", meta.Name))
	return errors.New(strings.Join(reasons, "; "))
}

// final reports whether another origin would not help: the import was cancelled or the data folder refuses files.
func final(ctx context.Context, err error) bool {
	var w *writeError
	return ctx.Err() != nil || errors.As(err, &w)
}

// importLocal imports from a folder or a single file.
func (s *store) importLocal(ctx context.Context, meta data.Meta, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return s.importAll(ctx, meta, from, openFolder(from, meta.Name))
	}
	// One file: its content decides which of the dataset's files it is.
	open := func(context.Context, data.File) (io.ReadCloser, string, error) {
		f, err := openRegular(from)
		return f, from, err
	}
	found := false
	for _, file := range meta.Files {
		err := s.place(ctx, meta, file, open)
		if err == nil {
			found = true
			continue
		}
		if !data.IsContentError(err) {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s has the content of no file of it", from)
	}
	for _, file := range meta.Files {
		if s.verifyFile(meta, file) != nil {
			s.log.WarnContext(ctx, "dataset still lacks a file", "dataset", meta.Name, "file", file.Name)
		}
	}
	return nil
}

// importAll places every file of the dataset that is not intact already.
func (s *store) importAll(ctx context.Context, meta data.Meta, from string, open opener) error {
	s.log.InfoContext(ctx, "importing dataset", "dataset", meta.Name, "from", from, "folder", filepath.Join(s.dir, meta.Name))
	for _, file := range meta.Files {
		if s.verifyFile(meta, file) == nil {
			continue
		}
		if err := s.place(ctx, meta, file, open); err != nil {
			return err
		}
	}
	return nil
}

// place copies one file into the data folder, gzip-compressed or as the archive that it is, and gives it its name once its content is verified.
func (s *store) place(ctx context.Context, meta data.Meta, file data.File, open opener) error {
	r, where, err := open(ctx, file)
	if err != nil {
		return err
	}
	defer r.Close()

	target := s.path(meta, file)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return &writeError{err}
	}
	tmp, err := os.CreateTemp(filepath.Dir(target), ".import-*")
	if err != nil {
		return &writeError{err}
	}
	defer os.Remove(tmp.Name()) // fails once renamed, as it should
	defer tmp.Close()
	if err := pack(tmp, contextReader{ctx, r}, file); err != nil {
		return fmt.Errorf("copy %s: %w", where, err)
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return &writeError{err}
	}
	if err := file.Verify(tmp); err != nil {
		return fmt.Errorf("%s is not the published file: %w", where, err)
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return &writeError{err}
	}
	if err := os.Rename(tmp.Name(), target); err != nil {
		return &writeError{err}
	}
	s.log.InfoContext(ctx, "dataset file stored", "dataset", meta.Name, "file", file.Name, "from", where)
	return nil
}

// writeError is an error of the data folder, as opposed to one of what is imported.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write data folder: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// pack copies r to w: an archive as it is, else as a gzip stream: as it is if it is one, compressed if not. It reads no more than an honest
// copy of file can have; what is longer fails verification.
func pack(w io.Writer, r io.Reader, file data.File) error {
	in := bufio.NewReader(r)
	magic, err := in.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	out := failing{w: w}
	if file.Archive() || len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		_, err = io.Copy(&out, io.LimitReader(in, file.MaxPacked()+1))
	} else {
		z := gzip.NewWriter(&out)
		if _, err = io.Copy(z, io.LimitReader(in, file.Bytes+1)); err == nil {
			err = z.Close()
		}
	}
	if out.err != nil {
		return &writeError{out.err}
	}
	return err
}

// failing remembers the errors of a writer, which io.Copy mixes with those of the reader.
type failing struct {
	w   io.Writer
	err error
}

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		f.err = err
	}
	return n, err
}

// contextReader ends a copy when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// openFolder looks for a file under the names it is passed around by, in the folder and in a folder in it named
// after the dataset.
func openFolder(folder, dataset string) opener {
	return func(_ context.Context, file data.File) (io.ReadCloser, string, error) {
		plain := strings.TrimSuffix(file.Name, ".gz")
		dotted := strings.Replace(plain, "-idx", ".idx", 1) // train-images.idx3-ubyte
		for _, dir := range []string{folder, filepath.Join(folder, dataset)} {
			names := []string{file.Name, plain, dotted + ".gz", dotted}
			if file.Archive() {
				names = names[:1]
			}
			for _, name := range names {
				path := filepath.Join(dir, name)
				f, err := openRegular(path)
				if err == nil {
					return f, path, nil
				}
				if !errors.Is(err, fs.ErrNotExist) {
					return nil, "", err
				}
			}
		}
		return nil, "", fmt.Errorf("folder %s has no file %s or %s: %w", folder, file.Name, plain, fs.ErrNotExist)
	}
}

// openURL fetches a file from below an http(s) address.
func (s *store) openURL(base string) opener {
	return func(ctx context.Context, file data.File) (io.ReadCloser, string, error) {
		where, err := url.JoinPath(base, file.Name)
		if err != nil {
			return nil, "", err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
		if err != nil {
			return nil, "", err
		}
		resp, err := s.client.Do(req)
		if err != nil {
			return nil, "", err
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, "", fmt.Errorf("get %s: %s", where, resp.Status)
		}
		return resp.Body, where, nil
	}
}
