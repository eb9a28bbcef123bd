package dataimport

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/safetensors"
)

// npy returns an NPY file with a header for that type and shape, and these values.
func npy(descr, shape string, values ...byte) []byte {
	return npyText(fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape), values...)
}

func npyText(header string, values ...byte) []byte {
	b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(b[8:], uint16(len(header)+1))
	return append(append(b, header+"\n"...), values...)
}

func f32(values ...float32) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// packed returns an NPZ file of members, in turn a name and its content.
func packed(t testing.TB, members ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w, err := z.Create(members[i].(string))
		require.NoError(t, err)
		_, err = w.Write(members[i+1].([]byte))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

func zipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(content)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func picture(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, m))
	return b.Bytes()
}

func parquetFile(t testing.TB, rows any) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch rows := rows.(type) {
	case []nullable:
		err = parquet.Write(&b, rows)
	case []nested:
		err = parquet.Write(&b, rows)
	case []texts:
		err = parquet.Write(&b, rows)
	}
	require.NoError(t, err)
	return b.Bytes()
}

type nullable struct {
	A *float64 `parquet:"a,optional"`
	Y string   `parquet:"y"`
}

type nested struct {
	A []float64 `parquet:"a"`
	Y string    `parquet:"y"`
}

type texts struct {
	A string  `parquet:"a"`
	Y float64 `parquet:"y"`
}

// bad is a file, or several, that must not become a dataset.
type bad struct {
	name  string
	files map[string][]byte
	path  string // of files; the only one where it is ""
	o     Options
	want  string // in the error
}

func badInputs(t testing.TB) []bad {
	one := func(name, file string, content []byte, want string, o ...Options) bad {
		b := bad{name: name, files: map[string][]byte{file: content}, path: file, want: want}
		if len(o) > 0 {
			b.o = o[0]
		}
		return b
	}
	good := npy("<f4", "(4, 1)", f32(1, 2, 3, 4)...)
	labels := npy("|u1", "(4,)", 0, 1, 0, 1)
	npz := packed(t, "x.npy", good, "y.npy", labels)
	huge := npy("<f8", "(1250000000,)") // 10 GB
	grey, colour := image.NewGray(image.Rect(0, 0, 2, 2)), image.NewNRGBA(image.Rect(0, 0, 2, 2))
	for i := range colour.Pix {
		colour.Pix[i] = 255
	}
	clear := image.NewNRGBA(image.Rect(0, 0, 2, 2))
	wide := image.NewGray(image.Rect(0, 0, 3, 2))
	var photo bytes.Buffer
	require.NoError(t, jpeg.Encode(&photo, colour, nil))
	bomb := picture(t, grey) // with another size in its header
	binary.BigEndian.PutUint32(bomb[16:], 60000)
	binary.BigEndian.PutUint32(bomb[20:], 60000)
	binary.BigEndian.PutUint32(bomb[29:], crc32.ChecksumIEEE(bomb[12:29]))
	target := Options{Target: "y"}
	var tensors bytes.Buffer
	require.NoError(t, safetensors.Encode(&tensors, &safetensors.File{Tensors: []safetensors.Tensor{{Name: "x", DType: "U8", Shape: []int{2}, Data: []byte{1, 2}}}}))
	v := 1.0
	folder := func(name, want string, files map[string][]byte) bad {
		return bad{name: name, files: files, path: ".", want: want}
	}
	csv := func(name, content, want string) bad { return one(name, "a.csv", []byte(content), want, target) }
	return []bad{
		one("truncated NPZ", "a.npz", npz[:len(npz)-30], "is not an intact NPZ (zip) file"),
		one("member cut short", "a.npz", packed(t, "x.npy", good[:len(good)-2], "y.npy", labels), "a.npz: x: it ends after 14 of 16 bytes of values"),
		one("NPZ that is none", "a.npz", []byte("hello"), "is not an intact NPZ"),
		one("path traversal in an NPZ", "a.npz", packed(t, "../../etc/passwd.npy", good), `member "../../etc/passwd.npy" would leave the archive`),
		one("absolute path in an NPZ", "a.npz", packed(t, "/x.npy", good), "would leave the archive"),
		one("another file in an NPZ", "a.npz", packed(t, "run.py", good), `member "run.py" is no array`),
		one("member twice", "a.npz", packed(t, "x.npy", good, "x.npy", good), `member "x.npy" is there twice`),
		one("no names that are known", "a.npz", packed(t, "foo.npy", good, "bar.npy", labels), "no array is named like the features: it has bar, foo"),
		one("target that is not there", "a.npz", npz, `has no array "z" for --target`, Options{Target: "z"}),
		one("features twice", "a.npz", packed(t, "x.npy", good, "data.npy", good, "y.npy", labels), "data, x could all be the features"),
		one("labels too few", "a.npz", packed(t, "x.npy", good, "y.npy", npy("|u1", "(3,)", 0, 1, 0)), "has 4 examples, but"),
		one("zip bomb", "a.npz", packed(t, "x.npy", append(npy("|u1", "(4, 1)", 1, 2, 3, 4), make([]byte, 1<<22)...), "y.npy", labels), "holds more bytes than its header says"),
		one("10 GB header in an NPZ", "a.npz", packed(t, "x.npy", huge, "y.npy", labels), "a.npz: x: its shape [1250000000] holds more than the 4294967296 bytes"),
		one("label 255 of 10 classes", "a.npz", packed(t, "x_train.npy", good, "y_train.npy", labels, "x_test.npy", good, "y_test.npy", npy("|u1", "(4,)", 0, 1, 255, 1)),
			"y_test: label 255 of example 2 is none of the 2 classes"),
		one("label 255 among those of training", "a.npz", packed(t, "x.npy", good, "y.npy", npy("|u1", "(4,)", 0, 1, 255, 1)), "y: label 255 of example 2 leaves a gap: labels are 0, 1, 2, …"),
		one("test of another shape", "a.npz", packed(t, "x_train.npy", good, "y_train.npy", labels, "x_test.npy", npy("<f4", "(2, 2)", f32(1, 2, 3, 4)...), "y_test.npy", npy("|u1", "(2,)", 0, 1)),
			"x_test are of shape [2], those of"),
		one("NaN", "a.npz", packed(t, "x.npy", npy("<f4", "(2, 2)", f32(1, 2, 3, float32(math.NaN()))...), "y.npy", npy("|u1", "(2,)", 0, 1)), "value 1 of example 1 is NaN"),
		one("infinity", "a.npz", packed(t, "x.npy", npy("<f4", "(2, 2)", f32(1, 2, float32(math.Inf(1)), 4)...), "y.npy", npy("|u1", "(2,)", 0, 1)), "value 0 of example 1 is +Inf"),
		one("beyond float32", "a.npz", packed(t, "x.npy", npy("<f8", "(1, 1)", binary.LittleEndian.AppendUint64(nil, math.Float64bits(1e300))...), "y.npy", npy("<f4", "(1,)", f32(1)...)), "beyond float32"),
		one("NaN among targets", "a.npz", packed(t, "x.npy", good, "y.npy", npy("<f4", "(4,)", f32(1, 2, 3, float32(math.NaN()))...)), "target of example 3 is NaN"),
		one("one class", "a.npz", packed(t, "x.npy", good, "y.npy", npy("|u1", "(4,)", 1, 1, 1, 1)), "has only one class", Options{Kind: Classes}),
		one("too many classes", "a.npz", packed(t, "x.npy", npy("|u1", "(300, 1)", make([]byte, 300)...), "y.npy", npy("<i2", "(300,)", counting(300)...)), "300 different values, more than the 256 classes", Options{Kind: Classes}),
		{name: "pickled NPY", path: "testdata/pickled.npy", o: Options{Target: "0"}, want: "holds Python objects (pickled), and reading them runs the code in them"},
		{name: "pickle inside an NPZ", path: "testdata/pickled.npz", want: "pickled.npz: y: it holds Python objects (pickled)"},
		{name: "structured NPY", path: "testdata/structured.npy", o: Options{Target: "0"}, want: "is a structured array"},
		{name: "complex NPY", path: "testdata/complex.npy", o: Options{Target: "0"}, want: "type '<c8' is none that is read"},
		one("pickle named NPY", "a.npy", []byte("\x80\x04\x95hello world"), "is a Python pickle", Options{Target: "0"}),
		one("pickle by its name", "a.pkl", []byte("\x80\x04"), "runs the code in it"),
		one("10 GB header", "a.npy", huge, "holds more than the 4294967296 bytes that are read", Options{Target: "0"}),
		one("3 GB of features", "a.npy", npy("<f4", "(750000000,)"), "makes 3000000000 bytes of features, more than the 2147483648 of a dataset", Options{Target: "0"}),
		one("shape that overflows", "a.npy", npy("<f4", "(4294967296, 4294967296, 4)"), "holds more than", Options{Target: "0"}),
		one("number beyond 64 bits", "a.npy", npy("<f4", "(99999999999999999999,)"), "is beyond what can be read", Options{Target: "0"}),
		one("long NPY header", "a.npy", append([]byte("\x93NUMPY\x02\x00\xff\xff\xff\x7f"), "{"...), "header has 2147483647 bytes, more than 10000", Options{Target: "0"}),
		one("NPY header cut short", "a.npy", good[:20], "its NPY header is cut short", Options{Target: "0"}),
		one("NPY header that runs code", "a.npy", npyText("{'descr': __import__('os').system('id'), 'fortran_order': False, 'shape': (1,)}"), "its NPY header cannot be read", Options{Target: "0"}),
		one("NPY without a target", "a.npy", good, "say with --target"),
		one("column that is not there", "a.npy", npy("<f4", "(2, 2)", f32(1, 2, 3, 4)...), "there is no column 2", Options{Target: "2"}),
		one("empty file", "a.csv", nil, "is empty"),
		csv("missing cell", "a,b,y\n1,2,u\n3,,v\n", `row 2 (line 3), column "b": the value is missing ("")`),
		csv("quoted cell with a line break", "a,b,y\n\"1\",2,\"u\nu\"\n\"x, y\",4,v\n", `row 2 (line 4), column "a": "x, y" is not a number`),
		csv("NaN cell", "a,y\n1,u\nNaN,v\n", "the value is missing (\"NaN\")"),
		csv("infinite cell", "a,y\n1,u\n1e39,v\n", `"1e39" is infinite or beyond float32`),
		csv("missing target", "a,y\n1,u\n2,\n", `column "y": the target is missing`),
		csv("line break in a name", "\"a\nb\x1b[31m\",y\n1,u\n2\n", "line 4 has 1 cells"),
		one("control sequence in a name", "a.npz", packed(t, "x\x1b[2J.npy", good), "would leave the archive"),
		one("line break in a name that is listed", "a.csv", []byte("\"a\nb\",c\n1,2\n"), "it has a?b, c"),
		csv("ragged row", "a,b,y\n1,2,u\n3,v\n", "line 3 has 2 cells, the first line has 3"),
		csv("quote without its partner", "a,y\n1,u\n2,\"v\n", "a.csv: line"),
		csv("no rows", "a,y\n", "has no examples"),
		csv("column twice", "a,a,y\n1,2,u\n", `columns 0 and 1 are both named "a"`),
		csv("no such target", "alpha,Y\n1,u\n", `has no column "y" for --target, did you mean "Y"?`),
		csv("only a target", "y\nu\nv\n", "no column is left as a feature"),
		csv("text of zeros", "a,y\n1,\x00\n", "is no text"),
		csv("not UTF-8", "a,y\n1,\xff\xfe\n2,u\n", "the class is not UTF-8"),
		one("no target said", "a.csv", []byte("a,b\n1,2\n"), "say with --target which column is to be learnt: it has a, b"),
		one("row without an end", "a.csv", []byte("a,y\n\""+strings.Repeat("1", maxRow+1<<17)), "a quote may be missing its partner", target),
		one("gzip cut short", "a.csv.gz", zipped(t, []byte("a,y\n1,u\n2,v\n"))[:20], "it ends too early", target),
		one("gzip that is none", "a.csv.gz", []byte("a,y\n"), "is not an intact gzip file", target),
		one("null in Parquet", "a.parquet", parquetFile(t, []nullable{{&v, "u"}, {nil, "v"}}), `row 2, column "a": the value is missing (null)`, target),
		one("lists in Parquet", "a.parquet", parquetFile(t, []nested{{[]float64{1}, "u"}}), `column "a" is a list or an object`, target),
		one("texts as features", "a.parquet", parquetFile(t, []texts{{"u", 1}}), `column "a" holds texts`, target),
		one("Parquet that is none", "a.parquet", []byte("PAR1PAR1"), "is not an intact Parquet file", target),
		one("Parquet cut short", "a.parquet", parquetFile(t, []texts{{"u", 1}})[:60], "is not an intact Parquet file", target),
		one("IDX cut short", "x-idx3-ubyte", []byte{0, 0, 8, 2, 0, 0, 0, 4, 0, 0, 0, 1, 1, 2}, "it ends after 2 of 4 bytes", Options{Target: "x-idx3-ubyte"}),
		one("IDX of 16 EB", "x-idx3-ubyte", []byte{0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255}, "holds more than", Options{Target: "x"}),
		one("IDX that is none", "x-idx3-ubyte", []byte("hello"), "is not an IDX file", Options{Target: "x"}),
		one("safetensors cut short", "a.safetensors", tensors.Bytes()[:tensors.Len()-1], "a.safetensors: "),
		one("safetensors with a header of 10 GB", "a.safetensors", append(binary.LittleEndian.AppendUint64(nil, 10<<30), '{', '}'), "a.safetensors: "),
		one("unknown format", "a.xlsx", []byte("PK"), "unknown format: give an .npz"),
		{name: "no file", path: "nowhere.csv", want: "nowhere.csv: there is no such file or folder"},
		{name: "a device", path: "/dev/null", want: "/dev/null"},
		folder("grey and colour", "1/b.png is in colour, ", map[string][]byte{"0/a.png": picture(t, grey), "1/b.png": picture(t, colour)}),
		folder("images of two sizes", "all images must be of one size", map[string][]byte{"0/a.png": picture(t, grey), "1/b.png": picture(t, wide)}),
		folder("transparent image", "is transparent at row 0, column 0", map[string][]byte{"0/a.png": picture(t, clear), "1/b.png": picture(t, colour)}),
		folder("image cut short", "is no intact PNG or JPEG image: it ends too early", map[string][]byte{"0/a.png": picture(t, grey)[:50]}),
		folder("JPEG cut short", "is no intact PNG or JPEG image", map[string][]byte{"0/a.jpg": photo.Bytes()[:photo.Len()-8]}),
		folder("image bomb", "has 60000 × 60000 pixels", map[string][]byte{"0/a.png": bomb}),
		folder("text among images", "is no PNG or JPEG image by its name", map[string][]byte{"0/readme.txt": []byte("x")}),
		folder("images without classes", "images lie in one folder for each class: a.png lies beside them", map[string][]byte{"a.png": picture(t, grey)}),
		folder("one class of images", "has only one class", map[string][]byte{"0/a.png": picture(t, grey)}),
		folder("class of the test only", `class "2" of example 0 is none of the training examples' (0, 1)`, map[string][]byte{
			"train/0/a.png": picture(t, grey), "train/1/a.png": picture(t, grey), "test/2/a.png": picture(t, grey)}),
		one("share of 1.5", "a.npz", npz, "must be above 0 and below 1, is 1.5", Options{Test: "1.5"}),
		one("share too small", "a.npz", npz, "is not one example of any class", Options{Test: "0.01"}),
		one("share too large", "a.npz", npz, "leaves no training example of class 0", Options{Test: "0.99"}),
		one("no test file", "a.npz", npz, "nowhere.npz: there is no such file", Options{Test: "nowhere.npz"}),
	}
}

func counting(n int) (b []byte) {
	for i := range n {
		b = binary.LittleEndian.AppendUint16(b, uint16(i))
	}
	return b
}

// Each is one clear line, and nothing is written.
func TestBadInputs(t *testing.T) {
	cases := badInputs(t)
	require.Greater(t, len(cases), 40)
	here, err := os.Getwd()
	require.NoError(t, err)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				path := filepath.Join(dir, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, content, 0o644))
			}
			if !strings.HasPrefix(c.path, "testdata") {
				t.Chdir(dir)
			}
			r, err := Read(c.path, c.o)
			require.ErrorContains(t, err, c.want)
			require.Nil(t, r)
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, len(err.Error()), 600)
			t.Chdir(here)
			count := 0
			require.NoError(t, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
				if !e.IsDir() {
					count++
				}
				return err
			}))
			require.Equal(t, len(c.files), count, "something was written")
		})
	}
}

func TestUnreadableFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv")
	require.NoError(t, os.WriteFile(path, []byte("a,y\n1,u\n"), 0))
	why := "permission denied"
	if os.Geteuid() == 0 { // which reads every file, but no link to itself
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Symlink(path, path))
		why = "too many levels of symbolic links"
	}
	_, err := Read(path, Options{})
	require.ErrorContains(t, err, "a.csv: "+why)
}

func FuzzNPY(f *testing.F) {
	f.Add(npy("<f4", "(4, 1)", f32(1, 2, 3, 4)...))
	f.Add(npy("<U2", "(1,)", 65, 0, 0, 0, 66, 0, 0, 0))
	f.Add(npyText("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }", make([]byte, 12)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := readNPYArray(bytes.NewReader(b), "fuzz", func(a *array) error {
			if n, _ := elems(a.dims, a.size); n > 1<<16 {
				return io.ErrShortBuffer
			}
			return nil
		})
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		var p part
		if _, err := a.features(&p); err == nil {
			require.Len(t, append(p.floats, make([]float32, len(p.bytes))...), len(a.raw)/a.size)
		}
		_, _ = a.answers() // must not panic
	})
}

// many is a row with columns of the types that are read.
type many struct {
	A *float64 `parquet:"a,optional"`
	B int32    `parquet:"b"`
	C bool     `parquet:"c"`
	D uint64   `parquet:"d"`
	E float32  `parquet:"e"`
	Y string   `parquet:"y"`
	Z *float64 `parquet:"z,optional"`
}

// FuzzParquet reads tables with any values and in any number of row groups. It does not
// change bytes of the file: the library makes room for as many equal values as a few bytes
// say that there are, and a file may have millions of rows.
func FuzzParquet(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef"), "u v", uint8(0), uint8(3))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\xf0\x7f\xff\xff\xff\xff"), "", uint8(255), uint8(1))
	f.Fuzz(func(t *testing.T, values []byte, texts string, nulls, group uint8) {
		values = values[:min(len(values), 1<<10)]
		words := strings.Fields(texts)
		var rows []many
		for i := 0; i+8 <= len(values); i += 8 {
			bits := binary.LittleEndian.Uint64(values[i:])
			v := math.Float64frombits(bits)
			r := many{A: &v, B: int32(bits), C: bits&1 == 1, D: bits, E: float32(v), Z: &v}
			if len(words) > 0 {
				r.Y = words[i/8%len(words)]
			}
			if nulls>>(i/8%8)&1 == 1 && i > 0 {
				r.A, r.Z = nil, nil
			}
			rows = append(rows, r)
		}
		var b bytes.Buffer
		w := parquet.NewGenericWriter[many](&b, parquet.MaxRowsPerRowGroup(int64(group)+1))
		_, err := w.Write(rows)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		path := filepath.Join(t.TempDir(), "a.parquet")
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
		for _, o := range []Options{{Target: "y"}, {Target: "y", Drop: []string{"a", "z", "e"}}, {Target: "z", Drop: []string{"y"}}, {Target: "a,e", Drop: []string{"y", "z"}}, {Target: "c", Drop: []string{"y"}, Kind: Classes}} {
			r, err := Read(path, o)
			if err != nil {
				require.NotContains(t, strings.ReplaceAll(err.Error(), path, ""), "\n")
				continue
			}
			require.Equal(t, len(rows), r.Train)
			require.Equal(t, r.Train*r.Size(), len(r.TrainSplit.F))
			for _, v := range append(r.TrainSplit.F, r.TrainSplit.T...) {
				require.Zero(t, v-v, "every value is finite")
			}
		}
	})
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("a,b,y\n1,2,u\n3,4,v\n"), "y")
	f.Add([]byte("1;2\n3;4\n"), "-1")
	f.Add([]byte("\ufeffa\ty\n\"1\"\tu\n"), "a,y")
	f.Fuzz(func(t *testing.T, b []byte, target string) {
		path := filepath.Join(t.TempDir(), "a.csv")
		require.NoError(t, os.WriteFile(path, b, 0o644))
		r, err := Read(path, Options{Target: target})
		if err != nil {
			require.NotContains(t, strings.ReplaceAll(err.Error(), path, ""), "\n")
			return
		}
		require.Equal(t, r.Train*r.Size(), len(r.TrainSplit.F))
	})
}
