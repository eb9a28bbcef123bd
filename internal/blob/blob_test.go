package blob

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "neoteny/proto/neoteny/v1"
)

func buckets(t *testing.T) map[string]*Bucket {
	t.Helper()
	out := map[string]*Bucket{}
	for name, address := range map[string]string{
		"mem":  "mem://",
		"file": "file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "made", "here")),
		"path": filepath.Join(t.TempDir(), "made"),
	} {
		b, err := Open(t.Context(), address)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		require.NoError(t, b.Ping(t.Context()))
		out[name] = b
	}
	return out
}

func TestPutGet(t *testing.T) {
	for name, b := range buckets(t) {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				data := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(rt, "data")
				ref, err := b.Put(t.Context(), "checkpoints/exp/a.safetensors", data)
				require.NoError(rt, err)
				require.EqualValues(rt, len(data), ref.GetBytes())
				got, err := b.Get(t.Context(), ref, int64(len(data)))
				require.NoError(rt, err)
				require.True(rt, bytes.Equal(data, got))
			})
		})
	}
}

func TestGetRefusesWhatDiffers(t *testing.T) {
	for name, b := range buckets(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			ref, err := b.Put(ctx, "k/v", []byte("hello"))
			require.NoError(t, err)
			edit := func(f func(*pb.BlobRef)) *pb.BlobRef {
				c := proto.CloneOf(ref)
				f(c)
				return c
			}
			_, err = b.Get(ctx, ref, 4)
			require.ErrorIs(t, err, ErrTooLarge)
			_, err = b.Get(ctx, edit(func(r *pb.BlobRef) { r.Bytes = 4 }), 100)
			require.ErrorIs(t, err, ErrCorrupt)
			_, err = b.Get(ctx, edit(func(r *pb.BlobRef) { r.Bytes = 6 }), 100)
			require.ErrorIs(t, err, ErrCorrupt)
			_, err = b.Get(ctx, edit(func(r *pb.BlobRef) { r.Bytes = -1 }), 100)
			require.ErrorIs(t, err, ErrCorrupt)
			_, err = b.Get(ctx, edit(func(r *pb.BlobRef) { r.Sha256 = strings.Repeat("0", 64) }), 100)
			require.ErrorIs(t, err, ErrCorrupt)
			_, err = b.Get(ctx, edit(func(r *pb.BlobRef) { r.Key = "k/w" }), 100)
			require.ErrorIs(t, err, ErrNotFound)
			_, err = b.Get(ctx, nil, 100)
			require.ErrorIs(t, err, ErrKey)
		})
	}
}

func TestAlteredFileIsCorrupt(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(t.Context(), dir)
	require.NoError(t, err)
	ref, err := b.Put(t.Context(), "a/b", []byte("hello"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "b"), []byte("hellp"), 0o600))
	_, err = b.Get(t.Context(), ref, 10)
	require.ErrorIs(t, err, ErrCorrupt)
	require.NoError(t, os.Truncate(filepath.Join(dir, "a", "b"), 2))
	_, err = b.Get(t.Context(), ref, 10)
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestFolderHoldsOnlyObjects(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(t.Context(), dir)
	require.NoError(t, err)
	for i := range 3 {
		_, err := b.Put(t.Context(), fmt.Sprintf("a/%d", i), []byte("x"))
		require.NoError(t, err)
	}
	var files []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			files = append(files, filepath.Base(path))
		}
		return err
	}))
	require.Equal(t, []string{"0", "1", "2"}, files, "temporary or metadata files were left")
}

func TestDeleteTakesThePrefixAsAFolder(t *testing.T) {
	for name, b := range buckets(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			for _, k := range []string{"c/exp/1/x", "c/exp/2/y", "c/exp2/1", "d/exp"} {
				_, err := b.Put(ctx, k, []byte(k))
				require.NoError(t, err)
			}
			require.NoError(t, b.Delete(ctx, "c/exp"))
			require.NoError(t, b.Delete(ctx, "c/exp/"), "nothing there is no error")
			for k, want := range map[string]bool{"c/exp/1/x": false, "c/exp/2/y": false, "c/exp2/1": true, "d/exp": true} {
				got, err := b.Exists(ctx, k)
				require.NoError(t, err)
				require.Equal(t, want, got, k)
			}
			require.ErrorIs(t, b.Delete(ctx, ""), ErrKey)
			require.ErrorIs(t, b.Delete(ctx, "/"), ErrKey)
			require.ErrorIs(t, b.Delete(ctx, "../x"), ErrKey)
		})
	}
}

func TestBadKeys(t *testing.T) {
	b, err := Open(t.Context(), "mem://")
	require.NoError(t, err)
	for _, k := range []string{"", "/a", "a//b", "a/", "../a", "a/../b", "a/./b", "a\\b", "a b", "a\n", "ä", strings.Repeat("k", maxKey+1)} {
		_, err := b.Put(t.Context(), k, nil)
		require.ErrorIs(t, err, ErrKey, "%q", k)
	}
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for address, want := range map[string]string{
		"":                       "no address",
		"file://results":         "absolute path",
		"file:///x?create_dir=1": "no options",
		"ftp://host/x":           `unknown scheme "ftp" (have: file, mem`,
		file:                     "cannot be made",
		file + "/below":          "cannot be made",
	} {
		_, err := Open(t.Context(), address)
		require.ErrorContains(t, err, want, "%q", address)
	}
	if os.Geteuid() != 0 { // root may write anywhere
		dir := t.TempDir()
		require.NoError(t, os.Chmod(dir, 0o500))
		_, err := Open(t.Context(), dir)
		require.ErrorContains(t, err, "cannot be written to")
	}
}

func TestCloudSchemesSayHow(t *testing.T) {
	if len(cloudSchemes) > 0 {
		t.Skip("built with cloud drivers")
	}
	for scheme, tag := range map[string]string{"s3": "-tags s3", "gs": "-tags cloud"} {
		_, err := Open(t.Context(), scheme+"://bucket?region=eu&secret=x")
		require.ErrorContains(t, err, tag)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestFullDiskIsSaidPlainly(t *testing.T) {
	b, err := Open(t.Context(), t.TempDir())
	require.NoError(t, err)
	err = b.failed("write", "k", &fs.PathError{Op: "write", Path: "p", Err: syscall.ENOSPC})
	require.ErrorIs(t, err, ErrFull)
	require.ErrorContains(t, err, "free some space")
}

func TestCancelledPutLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(t.Context(), dir)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.Put(ctx, "a", []byte("x"))
	require.ErrorIs(t, err, context.Canceled)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// The first `go run` of a fresh clone compiles everything that is imported.
func TestNoCloudSDKInTheDefaultBuild(t *testing.T) {
	if len(cloudSchemes) > 0 {
		t.Skip("built with cloud drivers")
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	for pkg := range strings.Lines(string(out)) {
		for _, sdk := range []string{"aws/aws-sdk", "cloud.google.com/", "google.golang.org/api/storage", "google.golang.org/api/transport", "azure"} {
			require.NotContains(t, strings.ToLower(pkg), sdk)
		}
	}
}
