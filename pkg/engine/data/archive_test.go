package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// packed makes an entry of the catalogue of a file's content.
func packed(meta Meta, content []byte) (fstest.MapFS, Meta) {
	sum := sha256.Sum256(content)
	meta.Files = []File{{meta.Files[0].Name, hex.EncodeToString(sum[:]), int64(len(content))}}
	return fstest.MapFS{meta.Files[0].Name: {Data: content}}, meta
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

type member struct {
	name string
	data []byte
}

func tarOf(members []member) []byte {
	var out bytes.Buffer
	t := tar.NewWriter(&out)
	for _, m := range members {
		_ = t.WriteHeader(&tar.Header{Name: m.name, Size: int64(len(m.data)), Mode: 0o644})
		_, _ = t.Write(m.data)
	}
	_ = t.Close()
	return zipped(out.Bytes())
}

func zipOf(members []member) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, m := range members {
		w, _ := z.Create(m.name)
		_, _ = w.Write(m.data)
	}
	_ = z.Close()
	return out.Bytes()
}

func TestCIFARRecords(t *testing.T) {
	for _, name := range []string{"cifar-10", "cifar-100"} {
		meta, ok := Lookup(name)
		require.True(t, ok)
		meta.Train, meta.Test = 10, 3
		var members []member
		write := func(names []string, n int, seed byte) (images, labels []byte) {
			for f, file := range names {
				var b []byte
				for i := range n / len(names) {
					y := byte((f*7 + i*3) % meta.Classes)
					if meta.Archive.Labels == 2 {
						b = append(b, 19) // the superclass
					}
					x := make([]byte, 3*32*32)
					for k := range x {
						x[k] = seed + byte(k*(i+1)+f)
					}
					b = append(append(b, y), x...)
					images, labels = append(images, x...), append(labels, y)
				}
				members = append(members, member{file, b})
			}
			return images, labels
		}
		x, y := write(meta.Archive.Train, 10, 1)
		tx, ty := write(meta.Archive.Test, 3, 77)
		members = append(members, member{"batches.meta.txt", []byte("airplane\n")})
		slices.Reverse(members) // in any order
		fsys, small := packed(meta, tarOf(members))
		d, err := Decode(fsys, small)
		require.NoError(t, err)
		require.Equal(t, Split{N: 10, X: x, Y: y}, d.TrainSplit)
		require.Equal(t, Split{N: 3, X: tx, Y: ty}, d.TestSplit)

		bad := func(change func(), want string) {
			t.Helper()
			kept := slices.Clone(members)
			change()
			fsys, small := packed(meta, tarOf(members))
			_, err := Decode(fsys, small)
			require.ErrorAs(t, err, new(*CorruptError))
			require.ErrorContains(t, err, want)
			members = kept
		}
		last := len(members) - 1
		bad(func() { members = members[:last] }, "has no member "+members[last].name)
		bad(func() { members[last].data = members[last].data[1:] }, "bytes, want")
		bad(func() {
			members[last].data = slices.Clone(members[last].data)
			members[last].data[meta.Archive.Labels-1] = byte(meta.Classes)
		}, "is not below")

		fsys[small.Files[0].Name].Data[100] ^= 1
		_, err = Decode(fsys, small)
		require.ErrorContains(t, err, "SHA-256 is")
		fsys[small.Files[0].Name].Data = append(fsys[small.Files[0].Name].Data, 0)
		_, err = Decode(fsys, small)
		require.ErrorContains(t, err, "holds more than")
		fsys[small.Files[0].Name].Data = []byte("short")
		_, err = Decode(fsys, small)
		require.ErrorContains(t, err, "ends after 5")

		fsys, small = packed(meta, []byte("no archive"))
		_, err = Decode(fsys, small)
		require.ErrorContains(t, err, "not an intact gzip stream")
	}
}

func TestEMNISTImagesComeOutUpright(t *testing.T) {
	meta, ok := Lookup("emnist-balanced")
	require.True(t, ok)
	meta.Train, meta.Test = 4, 2
	build := func(n int, names []string) (upright, labels []byte, members []member) {
		var stored []byte
		for i := range n {
			image := make([]byte, 28*28)
			for k := range image {
				image[k] = byte(k*5 + i)
			}
			for c := range 28 { // column by column
				for r := range 28 {
					stored = append(stored, image[r*28+c])
				}
			}
			upright, labels = append(upright, image...), append(labels, byte(46-i))
		}
		return upright, labels, []member{
			{names[0], zipped(AppendIDX(nil, []int{n, 28, 28}, stored))},
			{names[1], zipped(AppendIDX(nil, []int{n}, labels))},
		}
	}
	x, y, members := build(4, meta.Archive.Train)
	tx, ty, more := build(2, meta.Archive.Test)
	members = append(append(members, more...), member{"gzip/emnist-letters-mapping.txt", []byte("1 65\n")})
	fsys, small := packed(meta, zipOf(members))
	d, err := Decode(fsys, small)
	require.NoError(t, err)
	require.Equal(t, Split{N: 4, X: x, Y: y}, d.TrainSplit)
	require.Equal(t, Split{N: 2, X: tx, Y: ty}, d.TestSplit)

	fsys, small = packed(meta, zipOf(members[1:]))
	_, err = Decode(fsys, small)
	require.ErrorContains(t, err, "has no member")
	members[1].data = zipped(AppendIDX(nil, []int{5}, make([]byte, 5)))
	fsys, small = packed(meta, zipOf(members))
	_, err = Decode(fsys, small)
	require.ErrorContains(t, err, "IDX dimension 0 is 5, want 4")
	fsys, small = packed(meta, []byte("no archive"))
	_, err = Decode(fsys, small)
	require.ErrorContains(t, err, "not an intact zip archive")
}
