package cli

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"neoteny/pkg/engine/safetensors"
)

// files are those of a test by name; what they hold is written below a folder.
type files map[string][]byte

// array returns an NPY file.
func array(descr string, fortran bool, shape string, values ...any) []byte {
	order := map[bool]string{true: "True", false: "False"}[fortran]
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n", descr, order, shape)
	b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(b[8:], uint16(len(header)))
	b = append(b, header...)
	var to binary.AppendByteOrder = binary.LittleEndian
	if strings.HasPrefix(descr, ">") {
		to = binary.BigEndian
	}
	for _, v := range values {
		switch v := v.(type) {
		case uint8:
			b = append(b, v)
		case int16:
			b = to.AppendUint16(b, uint16(v))
		case float32:
			b = to.AppendUint32(b, math.Float32bits(v))
		case float64:
			b = to.AppendUint64(b, math.Float64bits(v))
		}
	}
	return b
}

// archive returns a zip file of members, in turn a name and its content.
func archive(t *testing.T, members ...any) []byte {
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

func squeezed(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(content)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

// drawing returns a PNG of that size, filled with a colour.
func drawing(t *testing.T, width, height int, c color.Color) []byte {
	t.Helper()
	var m interface {
		image.Image
		Set(x, y int, c color.Color)
	} = image.NewNRGBA(image.Rect(0, 0, width, height))
	if _, grey := c.(color.Gray); grey {
		m = image.NewGray(image.Rect(0, 0, width, height))
	}
	for y := range height {
		for x := range width {
			m.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, m))
	return b.Bytes()
}

// parquetOf returns a Parquet file of rows.
func parquetOf[R any](t *testing.T, rows ...R) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, parquet.Write(&b, rows))
	return b.Bytes()
}

// badData is what cannot become a dataset: each is one line that names the file, says
// what is wrong where, and, where there is one, the fix.
type badData struct {
	name  string
	files files
	path  string   // of the file or folder that is added
	flags []string // of data add
	want  string   // in the message, beside the path
	named string   // what the message names in place of the path
}

func badDatasets(t *testing.T) []badData {
	grey, red := color.Gray{200}, color.NRGBA{R: 200, A: 255}
	features := array("<f4", false, "(4, 2)", float32(1), float32(2), float32(3), float32(4), float32(5), float32(6), float32(7), float32(8))
	labels := array("|u1", false, "(4,)", uint8(0), uint8(1), uint8(0), uint8(1))
	npz := archive(t, "x.npy", features, "y.npy", labels)
	ten := func(last uint8) []byte { // labels of ten classes, and another one
		var all []any
		for i := range 10 {
			all = append(all, uint8(i))
		}
		return array("|u1", false, "(11,)", append(all, last)...)
	}
	eleven := array("|u1", false, "(11, 1)", uint8(1), uint8(2), uint8(3), uint8(4), uint8(5), uint8(6), uint8(7), uint8(8), uint8(9), uint8(10), uint8(11))
	hugePNG := drawing(t, 2, 2, grey) // with the size of 10 GB in its header
	binary.BigEndian.PutUint32(hugePNG[16:], 100_000)
	binary.BigEndian.PutUint32(hugePNG[20:], 100_000)
	binary.BigEndian.PutUint32(hugePNG[29:], crc32.ChecksumIEEE(hugePNG[12:29]))
	type row struct {
		A float64 `parquet:"a"`
		Y string  `parquet:"y"`
	}
	type gap struct {
		A *float64 `parquet:"a,optional"`
		Y string   `parquet:"y"`
	}
	type list struct {
		A []float64 `parquet:"a"`
		Y string    `parquet:"y"`
	}
	one := 1.0
	table := parquetOf(t, row{1, "u"}, row{2, "v"})
	hugeParquet := bytes.Clone(table) // whose footer is 10 GB long, as far as its 32 bits go
	binary.LittleEndian.PutUint32(hugeParquet[len(hugeParquet)-8:], math.MaxUint32)
	tensors := func(all ...safetensors.Tensor) []byte {
		var b bytes.Buffer
		require.NoError(t, safetensors.Encode(&b, &safetensors.File{Tensors: all}))
		return b.Bytes()
	}
	pair := tensors(safetensors.Tensor{Name: "x", DType: "U8", Shape: []int{2, 1}, Data: []byte{1, 2}}, safetensors.Tensor{Name: "y", DType: "U8", Shape: []int{2}, Data: []byte{0, 1}})

	file := func(name, path string, content []byte, want string, flags ...string) badData {
		return badData{name: name, files: files{path: content}, path: path, want: want, flags: flags}
	}
	csv := func(name, content, want string, flags ...string) badData {
		if flags == nil {
			flags = []string{"--target", "y"}
		}
		return file(name, "a.csv", []byte(content), want, flags...)
	}
	folder := func(name, want string, all files) badData {
		return badData{name: name, files: all, path: "pictures", want: want}
	}
	return []badData{
		file("truncated NPZ", "a.npz", npz[:len(npz)-40], "is not an intact NPZ (zip) file"),
		file("NPZ with a member cut short", "a.npz", archive(t, "x.npy", features[:len(features)-3], "y.npy", labels), "x: it ends after 29 of 32 bytes"),
		file("pickled NPY", "a.npy", []byte("\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02e."), "is a Python pickle", "--target", "0"),
		file("NPY of objects", "a.npy", array("|O", false, "(2, 2)"), "holds Python objects (pickled)", "--target", "0"),
		file("objects in an NPZ", "a.npz", archive(t, "x.npy", features, "y.npy", array("|O", false, "(4,)")), "y: it holds Python objects (pickled)"),
		file("pickle by its name", "a.pkl", []byte("\x80\x04"), "numpy.savez or as safetensors"),
		file("rows of x and y that do not match", "a.npz", archive(t, "x.npy", features, "y.npy", array("|u1", false, "(3,)", uint8(0), uint8(1), uint8(0))), "x has 4 examples, but"),
		file("zip bomb", "a.npz", archive(t, "x.npy", append(bytes.Clone(features), make([]byte, 1<<22)...), "y.npy", labels), "holds more bytes than its header says"),
		file("10 GB header in an NPZ", "a.npz", archive(t, "x.npy", array("<f8", false, "(1250000000, 1)"), "y.npy", labels), "more than the 4294967296 bytes that are read"),
		file("10 GB header in NPY", "a.npy", array("<f8", false, "(1250000000, 1)"), "more than the 4294967296 bytes that are read", "--target", "0"),
		file("10 GB header in safetensors", "a.safetensors", append(binary.LittleEndian.AppendUint64(nil, 10<<30), pair[8:]...), "header"),
		file("10 GB header in Parquet", "a.parquet", hugeParquet, "its footer says that it has 4294967295 bytes", "--target", "y"),
		file("10 GB header in IDX", "a-idx3-ubyte", append([]byte{0, 0, 8, 3}, 0, 2, 0, 0, 0, 0, 0, 255, 0, 0, 1, 44), "more than the 4294967296 bytes that are read", "--target", "a-idx3-ubyte"),
		folder("10 GB header in PNG", "has 100000 × 100000 pixels", files{"pictures/0/a.png": hugePNG, "pictures/1/a.png": drawing(t, 2, 2, grey)}),
		file("path traversal in a zip member", "a.npz", archive(t, "../../../outside.npy", features), "would leave the archive"),
		file("absolute path in a zip member", "a.npz", archive(t, "/outside.npy", features), "would leave the archive"),
		file("empty file", "a.csv", nil, "is empty", "--target", "y"),
		file("empty NPZ", "a.npz", nil, "is empty"),
		{name: "no such file", path: "nowhere.csv", want: "there is no such file or folder"},
		{name: "directory instead of a file", files: files{"a.npz/readme": []byte("x")}, path: "a.npz", want: "images lie in one folder for each class"},
		file("unknown extension", "a.xlsx", []byte("PK\x03\x04"), "unknown format: give an .npz, .npy, .csv"),
		csv("unbalanced quotes", "a,y\n1,u\n2,\"v\n", "line 3"),
		csv("missing cell behind a quoted one", "a,b,y\n\"1\",2,u\n\"3\",,v\n", `row 2 (line 3), column "b": the value is missing`),
		csv("cell that is NA", "a,y\n1,u\nNA,v\n", `row 2 (line 3), column "a": the value is missing ("NA")`),
		csv("ragged rows", "a,b,y\n1,2,u\n3,v\n", "line 3 has 2 cells, the first line has 3"),
		csv("duplicate columns", "a,a,y\n1,2,u\n2,3,v\n", `columns 0 and 1 are both named "a"`),
		csv("text among numbers", "a,y\n1,u\nsmall,v\n", `"small" is not a number`),
		csv("infinity", "a,y\n1,u\ninf,v\n", `column "a"`),
		csv("column that is not there", "a,y\n1,u\n2,v\n", `did you mean "y"?`, "--target", "yy"),
		csv("no target", "a,b\n1,u\n2,v\n", "say with --target which column is to be learnt: it has a, b", "--test", "0.5"),
		csv("dropped column that is not there", "a,y\n1,u\n2,v\n", `no column "b"`, "--target", "y", "--drop", "b"),
		csv("nested lists in cells", "a,y\n\"[1, 2]\",u\n\"[3]\",v\n", `"[1, 2]" is not a number`),
		csv("no rows", "a,y\n", "has no examples"),
		csv("one class", "a,y\n1,u\n2,u\n", "has only one class"),
		file("UTF-16", "a.csv", []byte("\xff\xfea\x00,\x00y\x00\n\x001\x00,\x00u\x00\n\x00"), "UTF-8", "--target", "y"),
		file("gzip cut short", "a.csv.gz", squeezed(t, []byte("a,y\n1,u\n2,v\n"))[:18], "it ends too early", "--target", "y"),
		file("null in Parquet", "a.parquet", parquetOf(t, gap{&one, "u"}, gap{nil, "v"}), `row 2, column "a": the value is missing (null)`, "--target", "y"),
		file("nested arrays in Parquet", "a.parquet", parquetOf(t, list{[]float64{1, 2}, "u"}, list{[]float64{3}, "v"}), "is a list or an object: only flat tables are read; save arrays as NPZ", "--target", "y"),
		file("truncated Parquet", "a.parquet", table[:len(table)/2], "is not an intact Parquet file", "--target", "y"),
		file("truncated safetensors", "a.safetensors", pair[:len(pair)-1], "safetensors"),
		file("label 255 of 10 classes", "a.npz", archive(t, "x.npy", eleven, "y.npy", ten(255)), "label 255 of example 10 leaves a gap: labels are 0, 1, 2, … (--classes"),
		file("label 255 in the test of 10 classes", "a.npz", archive(t, "x_train.npy", eleven, "y_train.npy", ten(0), "x_test.npy", eleven, "y_test.npy", ten(255)), "label 255 of example 10 is none of the 10 classes"),
		file("negative label in the test", "a.npz", archive(t, "x_train.npy", features, "y_train.npy", labels, "x_test.npy", features, "y_test.npy",
			array("<i2", false, "(4,)", int16(0), int16(1), int16(-1), int16(1))), "label -1 of example 2 is none of the 2 classes"),
		file("fractional label in the test", "a.npz", archive(t, "x_train.npy", features, "y_train.npy", labels, "x_test.npy", features, "y_test.npy",
			array("<f4", false, "(4,)", float32(0), float32(1), float32(0.5), float32(1))), "label 0.5 of example 2 is none of the 2 classes"),
		file("test of another shape", "a.npz", archive(t, "x_train.npy", features, "y_train.npy", labels, "x_test.npy", eleven, "y_test.npy", ten(0)), "are of shape [1], those of"),
		file("NaN", "a.npz", archive(t, "x.npy", array("<f4", false, "(2, 2)", float32(1), float32(2), float32(3), float32(math.NaN())), "y.npy", array("|u1", false, "(2,)", uint8(0), uint8(1))), "value 1 of example 1 is NaN"),
		file("infinite target", "a.npz", archive(t, "x.npy", features, "y.npy", array("<f8", false, "(4,)", 1.0, 2.5, math.Inf(1), 4.0)), "example 2"),
		file("scalar features", "a.npz", archive(t, "x.npy", array("<f4", false, "()", float32(1)), "y.npy", array("|u1", false, "()", uint8(1))), "x"),
		file("test share 0", "a.npz", npz, "must be above 0 and below 1, is 0", "--test", "0"),
		file("test share 1", "a.npz", npz, "must be above 0 and below 1, is 1", "--test", "1"),
		file("test share 1.5", "a.npz", npz, "must be above 0 and below 1, is 1.5", "--test", "1.5"),
		{name: "test file that is not there", files: files{"a.npz": npz}, path: "a.npz", flags: []string{"--test", "nowhere.npz"}, want: "there is no such file", named: "nowhere.npz"},
		folder("colour and grey images", "is in colour", files{"pictures/0/a.png": drawing(t, 2, 2, grey), "pictures/1/a.png": drawing(t, 2, 2, red)}),
		folder("images of different sizes", "all images must be of one size", files{"pictures/0/a.png": drawing(t, 2, 2, grey), "pictures/1/a.png": drawing(t, 3, 2, grey)}),
		folder("image that is none", "is no intact PNG or JPEG image", files{"pictures/0/a.png": []byte("GIF89a"), "pictures/1/a.png": drawing(t, 2, 2, grey)}),
		folder("image cut short", "it ends too early", files{"pictures/0/a.png": drawing(t, 2, 2, grey)[:40], "pictures/1/a.png": drawing(t, 2, 2, grey)}),
		folder("class without images", "has no images: remove the folder, or give the class some", files{"pictures/0/a.png": drawing(t, 2, 2, grey), "pictures/1/a.png": drawing(t, 2, 2, grey), "pictures/empty/": nil}),
	}
}

// write puts the files below a folder; a name that ends in / is a folder itself.
func (f files) write(t *testing.T, dir string) {
	t.Helper()
	for name, content := range f {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if strings.HasSuffix(name, "/") {
			require.NoError(t, os.MkdirAll(path, 0o755))
			continue
		}
		require.NoError(t, os.WriteFile(path, content, 0o644))
	}
}

// requireNothing checks that a folder has nothing in it, or is not there.
func requireNothing(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if !d.IsDir() {
			t.Errorf("%s was left behind", path)
		}
		return err
	}))
}

// experimentWith is one whose dataset is a file, with the parameters that the flags of
// data add stand for.
func experimentWith(t *testing.T, path string, flags []string) []byte {
	t.Helper()
	dataset := map[string]any{"path": path}
	for i := 0; i < len(flags); i += 2 {
		var v any = flags[i+1]
		if flags[i] == "--drop" {
			v = []string{flags[i+1]}
		}
		dataset[strings.TrimPrefix(flags[i], "--")] = v
	}
	b, err := yaml.Marshal(map[string]any{
		"name": "bad", "stream": map[string]any{"kind": "permuted", "dataset": dataset, "tasks": 1, "examples_per_task": 2, "batch": 1},
		"learner": map[string]any{"network": map[string]any{"kind": "mlp", "hidden": []int{2}}, "optimizer": map[string]any{"kind": "sgd"}},
	})
	require.NoError(t, err)
	return b
}

// Names are checked before anything is read, and nothing is written beside the folder.
func TestBadNamesOfDatasets(t *testing.T) {
	here := t.TempDir()
	t.Chdir(here)
	require.NoError(t, os.WriteFile("a.csv", []byte("a,y\n1,u\n2,v\n"), 0o644))
	for _, name := range []string{"../up", "a/b", "..", ".", "/etc/up", "Up", "a_b", "a b", "a\nb", "", "mnist", "own:x", strings.Repeat("a", 64), "-a", "ä"} {
		code, out, errs := neoteny("", "data", "add", "--target", "y", "--data", "data", "--", name, "a.csv")
		require.Contains(t, []int{1, 2}, code, name)
		require.Empty(t, out)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
		require.Regexp(t, "dataset name .* (must be of a to z, 0 to 9 and -|choose another)", errs)
		requireNothing(t, "data")
	}
	entries, err := os.ReadDir(filepath.Dir(here))
	require.NoError(t, err)
	for _, e := range entries {
		require.NotEqual(t, "up", e.Name())
	}
}

func TestUnreadableDataset(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("a.csv", []byte("a,y\n1,u\n2,v\n"), 0))
	why := "permission denied"
	if os.Geteuid() == 0 { // which reads every file, but no link to itself
		require.NoError(t, os.Remove("a.csv"))
		require.NoError(t, os.Symlink("a.csv", "a.csv"))
		why = "too many levels of symbolic links"
	}
	code, _, errs := neoteny("", "data", "add", "bad", "a.csv", "--target", "y", "--data", "data")
	require.Equal(t, 1, code)
	require.Equal(t, "neoteny: add dataset bad: a.csv: "+why+"\n", errs)
	requireNothing(t, "data")
}

// What is written in other ways is the same dataset: byte order, order of axes, a mark of
// byte order, ends of lines, quotes, separators.
func TestTheSameDatasetInOtherWays(t *testing.T) {
	little := array("<f4", false, "(2, 3)", float32(1), float32(2), float32(3), float32(4), float32(5), float32(6))
	labels := array("|u1", false, "(2,)", uint8(0), uint8(1))
	t.Chdir(t.TempDir())
	files{
		"plain.npz":     archive(t, "x.npy", little, "y.npy", labels),
		"big.npz":       archive(t, "x.npy", array(">f4", false, "(2, 3)", float32(1), float32(2), float32(3), float32(4), float32(5), float32(6)), "y.npy", labels),
		"fortran.npz":   archive(t, "x.npy", array("<f4", true, "(2, 3)", float32(1), float32(4), float32(2), float32(5), float32(3), float32(6)), "y.npy", labels),
		"double.npz":    archive(t, "x.npy", array(">f8", true, "(2, 3)", 1.0, 4.0, 2.0, 5.0, 3.0, 6.0), "y.npy", array(">i2", false, "(2,)", int16(0), int16(1))),
		"plain.csv":     []byte("a,b,c,y\n1,2,3,0\n4,5,6,1\n"),
		"bom.csv":       []byte("\xef\xbb\xbfa,b,c,y\n1,2,3,0\n4,5,6,1\n"),
		"crlf.csv":      []byte("a,b,c,y\r\n1,2,3,0\r\n4,5,6,1\r\n"),
		"quoted.csv":    []byte("\"a\",\"b\",\"c\",\"y\"\n\"1\",\"2.0\",3,\"0\"\n4e0,5,6,1"),
		"reorder.csv":   []byte("y,a,b,c\n0,1,2,3\n1,4,5,6\n"),
		"semicolon.csv": []byte("a;b;c;y\n1;2;3;0\n4;5;6;1\n"),
		"tabs.tsv":      []byte("a\tb\tc\ty\n1\t2\t3\t0\n4\t5\t6\t1\n"),
		"packed.csv.gz": squeezed(t, []byte("a,b,c,y\n1,2,3,0\n4,5,6,1\n")),
	}.write(t, ".")
	names, err := filepath.Glob("*.*")
	require.NoError(t, err)
	require.Len(t, names, 12)
	digests := map[string]bool{}
	for i, name := range names {
		args := []string{"data", "add", fmt.Sprint("d", i), name, "--data", "data", "-o", "json"}
		if !strings.HasSuffix(name, ".npz") {
			args = append(args, "--target", "y")
		}
		code, out, errs := neoteny("", args...)
		require.Zero(t, code, "%s: %s", name, errs)
		var added struct{ Digest string }
		require.NoError(t, json.Unmarshal([]byte(out), &added))
		digests[added.Digest] = true
	}
	require.Len(t, digests, 1)
}

func TestBadDatasets(t *testing.T) {
	cases := badDatasets(t)
	require.GreaterOrEqual(t, len(cases), 40)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			here, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
			c.files.write(t, here)
			t.Chdir(here)
			require.NoError(t, os.WriteFile("bad.yaml", experimentWith(t, c.path, c.flags), 0o644))
			add := append([]string{"data", "add", "bad", c.path, "--data", data}, c.flags...)
			for _, args := range [][]string{add, {"run", "bad.yaml", "--data", data, "--out", "out"}} {
				code, out, errs := neoteny("", args...)
				t.Log(errs)
				require.Contains(t, []int{1, 2}, code)
				require.Empty(t, out)
				require.Equal(t, 1, strings.Count(errs, "\n"), "one line")
				named := c.path
				if c.named != "" {
					named = c.named
				}
				require.Contains(t, errs, named)
				require.Contains(t, errs, c.want)
				require.Less(t, len(errs), 700)
			}
			requireNothing(t, data)
			requireNothing(t, "out")
			requireNothing(t, filepath.Join(here, "..", "outside.npy"))
		})
	}
}
