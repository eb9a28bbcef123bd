package data

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCatalogue(t *testing.T) {
	names := []string{}
	hexes := regexp.MustCompile(`^[0-9a-f]{64}$`)
	seen := map[string]bool{}
	for _, m := range Catalogue() {
		names = append(names, m.Name)
		if m.Format == IDX {
			require.Len(t, m.Files, 4)
			require.Equal(t, int64(16+m.Train*m.Size()), m.Files[0].Bytes)
			require.Equal(t, int64(8+m.Train), m.Files[1].Bytes)
			require.Equal(t, int64(16+m.Test*m.Size()), m.Files[2].Bytes)
			require.Equal(t, int64(8+m.Test), m.Files[3].Bytes)
		} else {
			require.Len(t, m.Files, 1)
			require.True(t, m.Files[0].Archive())
		}
		for _, f := range m.Files {
			require.Regexp(t, hexes, f.SHA256)
			require.False(t, seen[f.SHA256], "digest of %s/%s occurs twice", m.Name, f.Name)
			seen[f.SHA256] = true
		}
		got, ok := Lookup(m.Name)
		require.True(t, ok)
		require.Equal(t, m, got)
	}
	require.Equal(t, []string{"breast-cancer", "cifar-10", "cifar-100", "co2", "diabetes", "digits", "emnist-balanced", "fashion-mnist", "iris", "mnist", "sunspots", "wine"}, names)
	_, ok := Lookup("nothing")
	require.False(t, ok)

	c := Catalogue()
	c[0].Files[0].SHA256 = "changed"
	c[0].Shape[0] = 0
	require.NotEqual(t, c[0], Catalogue()[0])
}

func TestDigestDependsOnEveryFile(t *testing.T) {
	m, _ := Lookup("mnist")
	before := m.Digest()
	require.Regexp(t, `^[0-9a-f]{64}$`, before)
	for i := range m.Files {
		m, _ := Lookup("mnist")
		m.Files[i].SHA256 = m.Files[i].SHA256[1:] + "0"
		require.NotEqual(t, before, m.Digest())
	}
	slices.Reverse(m.Files)
	require.NotEqual(t, before, m.Digest())
}

// fake is a dataset of 2×3 images, three for training and two for test, whose contents are edited before the
// digests are taken (so the digests fit) or after it (so they do not).
type fake struct {
	meta    Meta
	content [4][]byte
}

func newFake() *fake {
	pixels := []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255}
	f := &fake{meta: Meta{Name: "fake", Title: "Fake", Shape: []int{2, 3}, Classes: 3, Train: 3, Test: 2}}
	f.content = [4][]byte{
		AppendIDX(nil, []int{3, 2, 3}, pixels),
		AppendIDX(nil, []int{3}, []uint8{0, 2, 1}),
		AppendIDX(nil, []int{2, 2, 3}, pixels[:12]),
		AppendIDX(nil, []int{2}, []uint8{1, 1}),
	}
	return f.seal()
}

// seal takes sizes and digests of the present contents into the catalogue entry.
func (f *fake) seal() *fake {
	f.meta.Files = nil
	for i, name := range []string{"a.gz", "b.gz", "c.gz", "d.gz"} {
		sum := sha256.Sum256(f.content[i])
		f.meta.Files = append(f.meta.Files, File{name, hex.EncodeToString(sum[:]), int64(len(f.content[i]))})
	}
	return f
}

func (f *fake) fs() fstest.MapFS {
	m := fstest.MapFS{}
	for i, file := range f.meta.Files {
		m[file.Name] = &fstest.MapFile{Data: pack(f.content[i])}
	}
	return m
}

func pack(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func TestDecode(t *testing.T) {
	f := newFake()
	d, err := Decode(f.fs(), f.meta)
	require.NoError(t, err)
	require.Equal(t, f.meta, d.Meta)
	require.Equal(t, 3, d.TrainSplit.N)
	require.Equal(t, []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255}, d.TrainSplit.X)
	require.Equal(t, []uint8{0, 2, 1}, d.TrainSplit.Y)
	require.Equal(t, 2, d.TestSplit.N)
	require.Equal(t, []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, d.TestSplit.X)
	require.Equal(t, []uint8{1, 1}, d.TestSplit.Y)
}

// Another compression of the same content is the same dataset.
func TestDecodeStored(t *testing.T) {
	f := newFake()
	fsys := f.fs()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	require.NoError(t, err)
	z.Name = "some name"
	_, err = z.Write(f.content[0])
	require.NoError(t, err)
	require.NoError(t, z.Close())
	fsys["a.gz"].Data = out.Bytes()
	_, err = Decode(fsys, f.meta)
	require.NoError(t, err)
}

func TestDecodeRefuses(t *testing.T) {
	endless := pack(make([]byte, 4<<20))
	for name, c := range map[string]struct {
		edit func(*fake, fstest.MapFS)
		file string
		want string
	}{
		"empty file":     {func(_ *fake, m fstest.MapFS) { m["a.gz"].Data = nil }, "a.gz", "the file is empty"},
		"not gzip":       {func(f *fake, m fstest.MapFS) { m["b.gz"].Data = f.content[1] }, "b.gz", "not an intact gzip stream"},
		"gzip cut short": {func(_ *fake, m fstest.MapFS) { m["a.gz"].Data = m["a.gz"].Data[:20] }, "a.gz", "unexpected EOF"},
		"gzip checksum cut short": {func(_ *fake, m fstest.MapFS) {
			m["a.gz"].Data = m["a.gz"].Data[:len(m["a.gz"].Data)-3]
		}, "a.gz", "unexpected EOF"},
		"content cut short": {func(f *fake, m fstest.MapFS) { m["c.gz"].Data = pack(f.content[2][:20]) }, "c.gz", "ends after 20 of 28 bytes"},
		"content too long": {func(f *fake, m fstest.MapFS) {
			m["c.gz"].Data = pack(append(slices.Clone(f.content[2]), 1))
		}, "c.gz", "holds more than 28 bytes"},
		"gzip bomb":         {func(_ *fake, m fstest.MapFS) { m["d.gz"].Data = endless }, "d.gz", "holds more than 10 bytes"},
		"bytes behind gzip": {func(_ *fake, m fstest.MapFS) { m["d.gz"].Data = append(m["d.gz"].Data, 7) }, "d.gz", "not an intact gzip stream"},
		"endless empty members": {func(_ *fake, m fstest.MapFS) {
			m["d.gz"].Data = append(m["d.gz"].Data, bytes.Repeat(pack(nil), 1000)...)
		}, "d.gz", "too long"},
		"one pixel": {func(f *fake, m fstest.MapFS) {
			b := slices.Clone(f.content[0])
			b[20]++
			m["a.gz"].Data = pack(b)
		}, "a.gz", "SHA-256"},
		// From here on the catalogue agrees with the file, so the IDX reader itself must refuse.
		"label out of range": {func(f *fake, m fstest.MapFS) { f.content[1][9] = 3; f.reseal(m) }, "b.gz", "label 3 of example 1 is not below 3"},
		"magic":              {func(f *fake, m fstest.MapFS) { f.content[0][1] = 1; f.reseal(m) }, "a.gz", "begins with 000108"},
		"element type":       {func(f *fake, m fstest.MapFS) { f.content[0][2] = 0x0d; f.reseal(m) }, "a.gz", "begins with 00000d"},
		"rank":               {func(f *fake, m fstest.MapFS) { f.content[0][3] = 1; f.reseal(m) }, "a.gz", "has 1 dimensions, want 3"},
		"count":              {func(f *fake, m fstest.MapFS) { f.content[0][7] = 4; f.reseal(m) }, "a.gz", "dimension 0 is 4, want 3"},
		"huge count":         {func(f *fake, m fstest.MapFS) { f.content[0][4] = 0xff; f.reseal(m) }, "a.gz", "dimension 0 is 4278190083, want 3"},
		"header cut short":   {func(f *fake, m fstest.MapFS) { f.content[0] = f.content[0][:9]; f.reseal(m) }, "a.gz", "cut short: 9 of 16"},
		"no header":          {func(f *fake, m fstest.MapFS) { f.content[3] = f.content[3][:3]; f.reseal(m) }, "d.gz", "cut short: 3 bytes"},
		"values missing":     {func(f *fake, m fstest.MapFS) { f.content[3] = f.content[3][:9]; f.reseal(m) }, "d.gz", "holds 1 values, want 2"},
		"trailing values":    {func(f *fake, m fstest.MapFS) { f.content[3] = append(f.content[3], 0); f.reseal(m) }, "d.gz", "holds 3 values, want 2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			fsys := f.fs()
			c.edit(f, fsys)
			d, err := Decode(fsys, f.meta)
			require.Nil(t, d)
			var bad *CorruptError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, "fake", bad.Name)
			require.Equal(t, c.file, bad.File)
			require.Contains(t, bad.Problem, c.want)
			require.Contains(t, err.Error(), "`neoteny data import fake`")
		})
	}
}

func (f *fake) reseal(m fstest.MapFS) {
	f.seal()
	for name, file := range f.fs() {
		m[name] = file
	}
}

func TestDecodeAbsentAndShortCatalogue(t *testing.T) {
	f := newFake()
	fsys := f.fs()
	delete(fsys, "c.gz")
	_, err := Decode(fsys, f.meta)
	require.ErrorIs(t, err, fs.ErrNotExist)
	f.meta.Files = f.meta.Files[:3]
	_, err = Decode(f.fs(), f.meta)
	require.ErrorContains(t, err, "want 4 files")
}

func TestVerify(t *testing.T) {
	f := newFake()
	file, packed := f.meta.Files[0], pack(f.content[0])
	require.NoError(t, file.Verify(bytes.NewReader(packed)))
	require.NoError(t, file.Verify(iotest.OneByteReader(bytes.NewReader(packed))))

	err := file.Verify(bytes.NewReader(packed[:12]))
	require.True(t, IsContentError(err))

	broken := errors.New("disk on fire")
	err = file.Verify(io.MultiReader(bytes.NewReader(packed[:12]), iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken)
	require.False(t, IsContentError(err))
}

func TestVerifyAcceptsUpToMaxPacked(t *testing.T) {
	f := newFake()
	file := f.meta.Files[0]
	// A valid stream of exactly size bytes, padded in its header (two bytes of length and the padding).
	build := func(size int64) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Extra = make([]byte, size-int64(len(pack(f.content[0])))-2)
		_, err := z.Write(f.content[0])
		require.NoError(t, err)
		require.NoError(t, z.Close())
		return out.Bytes()
	}
	b := build(file.MaxPacked())
	require.Equal(t, file.MaxPacked(), int64(len(b)))
	require.NoError(t, file.Verify(bytes.NewReader(b)))
	require.ErrorContains(t, file.Verify(bytes.NewReader(build(file.MaxPacked()+1))), "too long")
}

func TestIDXRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 4).Draw(t, "dims")
		size := 1
		for _, d := range dims {
			size *= d
		}
		values := rapid.SliceOfN(rapid.Uint8(), size, size).Draw(t, "values")
		got, err := ParseIDX(AppendIDX(nil, dims, values), dims)
		require.NoError(t, err)
		require.True(t, bytes.Equal(values, got))
	})
	require.Panics(t, func() { AppendIDX(nil, []int{2}, []uint8{1}) })
	require.Panics(t, func() { AppendIDX(nil, []int{math.MaxUint32 + 1, 0}, nil) })
}

func FuzzParseIDX(f *testing.F) {
	f.Add(AppendIDX(nil, []int{2, 3}, []uint8{1, 2, 3, 4, 5, 6}))
	f.Add([]byte{0, 0, 8, 2, 0, 0, 0, 2})
	f.Add([]byte{0, 0, 8, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := ParseIDX(b, []int{2, 3})
		if err == nil && !bytes.Equal(AppendIDX(nil, []int{2, 3}, values), b) {
			t.Fatalf("%x parsed as %x", b, values)
		}
	})
}

// write puts the fake dataset into a data folder.
func (f *fake) write(t *testing.T, dir string) {
	t.Helper()
	folder := filepath.Join(dir, f.meta.Name)
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for name, file := range f.fs() {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), file.Data, 0o644))
	}
}

func TestDirReadsOnceAndShares(t *testing.T) {
	dir, f := t.TempDir(), newFake()
	f.write(t, dir)
	src := NewDir(dir, f.meta)
	var wg sync.WaitGroup
	got := make([]*Dataset, 8)
	for i := range got {
		wg.Go(func() { got[i], _ = src.Load("fake") })
	}
	wg.Wait()
	require.NotNil(t, got[0])
	for _, d := range got {
		require.Same(t, got[0], d)
	}
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "fake")))
	again, err := src.Load("fake")
	require.NoError(t, err)
	require.Same(t, got[0], again)
}

func TestDirErrorsAndMending(t *testing.T) {
	dir, f := t.TempDir(), newFake()
	src := NewDir(dir, f.meta)

	_, err := src.Load("../fake")
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorContains(t, err, "choose one of fake")

	_, err = src.Load("fake")
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, MissingError{Name: "fake", Dir: dir}, *missing)
	require.EqualError(t, err, "dataset fake is missing from data folder "+dir+": run `neoteny data import fake`")

	f.write(t, dir)
	bad := filepath.Join(dir, "fake", "b.gz")
	require.NoError(t, os.WriteFile(bad, pack([]byte("x")), 0o644))
	_, err = src.Load("fake")
	var corrupt *CorruptError
	require.ErrorAs(t, err, &corrupt)
	require.Equal(t, bad, corrupt.File)

	require.NoError(t, os.Remove(bad)) // a part missing is the dataset missing
	_, err = src.Load("fake")
	require.ErrorAs(t, err, &missing)

	require.NoError(t, os.Mkdir(bad, 0o755)) // neither missing nor corrupt: the reader's own error
	_, err = src.Load("fake")
	require.ErrorContains(t, err, "b.gz")
	require.NotErrorAs(t, err, &missing)
	require.NotErrorAs(t, err, &corrupt)

	require.NoError(t, os.Remove(bad))
	f.write(t, dir)
	_, err = src.Load("fake")
	require.NoError(t, err)
}

func TestDirDefaultsToTheCatalogue(t *testing.T) {
	_, err := NewDir(t.TempDir()).Load("mnist")
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
}

func TestStatic(t *testing.T) {
	d := &Dataset{Meta: Meta{Name: "x"}}
	s := Static{"x": d}
	got, err := s.Load("x")
	require.NoError(t, err)
	require.Same(t, d, got)
	_, err = s.Load("y")
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorContains(t, err, "choose one of x")
}
