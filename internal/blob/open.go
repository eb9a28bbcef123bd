package blob

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	gcblob "gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
)

// cloudSchemes are the schemes of stores in buckets whose drivers this program was
// built with: s3 with the tag "s3", which the images have, both with "cloud".
var cloudSchemes []string

// Open opens the bucket at address: "file:///folder" or a plain path (made
// where missing), "mem://" (gone with the process), with the build tag "s3"
// "s3://bucket", and with "cloud" also "gs://bucket", whose queries and credentials
// are those of gocloud.dev. It fails where a folder cannot be written to.
func Open(ctx context.Context, address string) (*Bucket, error) {
	if address == "" {
		return nil, errors.New("open blob store: no address: give a folder or a URL such as file:///var/lib/neoteny")
	}
	scheme, rest, isURL := strings.Cut(address, "://")
	switch {
	case !isURL:
		return openDir(address)
	case scheme == "file":
		u, err := url.Parse(address)
		if err != nil {
			return nil, fmt.Errorf("open blob store: %w", err)
		}
		if u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) {
			return nil, fmt.Errorf("open blob store %s: a file URL holds an absolute path: write file:///%s, or a plain path", address, strings.TrimPrefix(rest, "/"))
		}
		if u.RawQuery != "" {
			return nil, fmt.Errorf("open blob store %s: a file URL takes no options", address)
		}
		return openDir(u.Path)
	case scheme == memblob.Scheme:
		return &Bucket{bucket: memblob.OpenBucket(nil), url: address}, nil
	case !slices.Contains(cloudSchemes, scheme):
		hint := ""
		switch scheme {
		case "s3":
			hint = "; s3:// needs a program built with -tags s3, as the container image is"
		case "gs":
			hint = "; gs:// needs a program built with -tags cloud"
		}
		return nil, fmt.Errorf("open blob store %s: unknown scheme %q (have: %s)%s", shown(address), scheme,
			strings.Join(append([]string{"file", "mem"}, cloudSchemes...), ", "), hint)
	}
	bucket, err := gcblob.OpenBucket(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("open blob store %s: %w", shown(address), err)
	}
	return &Bucket{bucket: bucket, url: shown(address)}, nil
}

func openDir(path string) (*Bucket, error) {
	dir, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open blob store %s: %w", path, err)
	}
	// Objects may hold unpublished results: the group and others have no
	// business there.
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("open blob store: folder cannot be made: %w", err)
	}
	if err := writable(dir); err != nil {
		return nil, err
	}
	bucket, err := fileblob.OpenBucket(dir, &fileblob.Options{
		DirFileMode: 0o750,
		NoTempDir:   true,                       // a rename must stay in one file system
		Metadata:    fileblob.MetadataDontWrite, // references carry what is needed
	})
	if err != nil {
		return nil, fmt.Errorf("open blob store %s: %w", dir, err)
	}
	return &Bucket{bucket: bucket, url: "file://" + filepath.ToSlash(dir), dir: dir}, nil
}

// writable makes and removes a file in dir: the only test of write permission
// that holds on every file system.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err == nil {
		f.Close()
		err = os.Remove(f.Name())
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("blob store %s: %w", dir, ErrFull)
	}
	return fmt.Errorf("blob store %s: folder cannot be written to: %w", dir, err)
}

// shown is an address without its query and credentials, for messages.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		scheme, _, _ := strings.Cut(address, "://")
		return scheme + "://…"
	}
	u.RawQuery, u.User = "", nil
	return u.String()
}
