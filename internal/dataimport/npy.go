package dataimport

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// readNPYArray reads an array in NumPy's format: "\x93NUMPY", two bytes of version, the length of the header in two
// bytes (version 1) or four, the header, which is a Python dictionary of descr, fortran_order and shape, the values.
// Check is called before the values are read.
func readNPYArray(r io.Reader, name string, check func(*array) error) (*array, error) {
	a := &array{name: name}
	bad := func(format string, args ...any) (*array, error) {
		return nil, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
	}
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return bad("its NPY header is cut short: %v", short(err))
	}
	if head[0] == 0x80 && head[1] >= 2 && head[1] <= 5 {
		return bad("it is a Python pickle, and reading one runs the code in it: save the array with numpy.save")
	}
	if string(head[:6]) != "\x93NUMPY" {
		return bad("it is not an NPY file: it begins with %q", head[:6])
	}
	length := make([]byte, 2)
	switch head[6] {
	case 1:
	case 2, 3:
		length = make([]byte, 4)
	default:
		return bad("NPY version %d is unknown", head[6])
	}
	if _, err := io.ReadFull(r, length); err != nil {
		return bad("its NPY header is cut short: %v", short(err))
	}
	n := uint32(binary.LittleEndian.Uint16(length))
	if len(length) == 4 {
		n = binary.LittleEndian.Uint32(length)
	}
	if n > maxNPYHeader {
		return bad("its NPY header has %d bytes, more than %d", n, maxNPYHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return bad("its NPY header is cut short: %v", short(err))
	}
	if err := a.describe(string(text)); err != nil {
		return bad("%v", err)
	}
	count, err := elems(a.dims, a.size)
	if err != nil {
		return bad("%v", err)
	}
	if err := check(a); err != nil {
		return nil, err
	}
	if a.raw, err = take(r, int64(count)*int64(a.size)); err != nil {
		return bad("%v", err)
	}
	if err := atEnd(r); err != nil {
		return bad("%v", err)
	}
	return a, nil
}

var (
	npyHeader = regexp.MustCompile(`^\s*\{((?:\s*'[a-z_]+'\s*:\s*(?:'[^'\\]*'|True|False|\([^()]*\)|\[[^{}]*\])\s*,?)*)\s*\}\s*$`)
	npyField  = regexp.MustCompile(`'([a-z_]+)'\s*:\s*('[^'\\]*'|True|False|\([^()]*\)|\[[^{}]*\])\s*,?`)
	npyShape  = regexp.MustCompile(`^\(\s*(?:[0-9]+L?\s*,\s*)*(?:[0-9]+L?\s*)?\)$`)
	npyDescr  = regexp.MustCompile(`^'([<>|=])([a-zA-Z])([0-9]{1,9})'$`)
)

// describe reads the header of an array.
func (a *array) describe(text string) error {
	m := npyHeader.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("its NPY header cannot be read: %.80q", text)
	}
	fields := map[string]string{}
	for _, f := range npyField.FindAllStringSubmatch(m[1], -1) {
		if _, twice := fields[f[1]]; twice {
			return fmt.Errorf("its NPY header gives %s twice", f[1])
		}
		fields[f[1]] = f[2]
	}
	descr, order, shape := fields["descr"], fields["fortran_order"], fields["shape"]
	if len(fields) != 3 || descr == "" || order == "" || shape == "" {
		return fmt.Errorf("its NPY header must give descr, fortran_order and shape: %.80q", text)
	}
	if strings.HasPrefix(descr, "[") {
		return errors.New("it is a structured array: save its fields as arrays of their own with numpy.savez")
	}
	d := npyDescr.FindStringSubmatch(descr)
	if d == nil {
		if strings.HasPrefix(descr, "'|O") || descr == "'O'" {
			return errPickled
		}
		return fmt.Errorf("its type %.40s is unknown", descr)
	}
	a.order = binary.LittleEndian
	if d[1] == ">" {
		a.order = binary.BigEndian
	}
	a.kind = d[2][0]
	a.size, _ = strconv.Atoi(d[3])
	ok := false
	switch a.kind {
	case 'O':
		return errPickled
	case 'u', 'i':
		ok = slices.Contains([]int{1, 2, 4, 8}, a.size)
	case 'f':
		ok = slices.Contains([]int{2, 4, 8}, a.size)
	case 'b':
		ok = a.size == 1
	case 'S':
		ok = a.size > 0 && a.size <= 1<<16
	case 'U':
		ok = a.size > 0 && a.size <= 1<<14
		a.size *= 4
	}
	if !ok {
		return fmt.Errorf("its type %.40s is none that is read: save it as float32, float64, uint8 or integers", descr)
	}
	a.fortran = order == "True"
	if order != "True" && order != "False" || !npyShape.MatchString(shape) {
		return fmt.Errorf("its NPY header cannot be read: %.80q", text)
	}
	for _, s := range strings.Split(strings.Trim(shape, "()"), ",") {
		if s = strings.TrimSuffix(strings.TrimSpace(s), "L"); s == "" {
			continue
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("its shape %.80s is beyond what can be read", shape)
		}
		a.dims = append(a.dims, int(n))
	}
	if len(a.dims) > 32 {
		return fmt.Errorf("it has %d dimensions, more than the 32 of NumPy", len(a.dims))
	}
	return nil
}

var errPickled = errors.New("it holds Python objects (pickled), and reading them runs the code in them: save numbers, with numpy.save(…, allow_pickle=False) to be sure")

func openNPY(path string, check func(*array) error) (*array, error) {
	in, err := open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return readNPYArray(in, path, check)
}

// readNPY reads features from one NPY file, and the target from another or from a column of the same.
func readNPY(path string, o Options) (*found, error) {
	if o.Target == "" {
		return nil, fmt.Errorf("%s: an NPY file holds one array: say with --target which file holds what is to be learnt, or which column (0 is the first, -1 the last)", path)
	}
	f := &found{format: "NPY"}
	a, err := openNPY(path, (*array).checkFeatures)
	if err != nil {
		return nil, err
	}
	note, err := a.features(&f.train)
	if err != nil {
		return nil, err
	}
	if note != "" {
		f.notes = append(f.notes, note)
	}
	if column, err := strconv.Atoi(o.Target); err == nil {
		return f, f.splitColumn(column, a.kind != 'f')
	}
	y, err := openNPY(o.Target, (*array).checkTarget)
	if err != nil {
		return nil, err
	}
	f.train.y, err = y.answers()
	return f, err
}

// splitColumn takes a column out of the features: what is to be learnt.
func (f *found) splitColumn(column int, whole bool) error {
	p := &f.train
	if len(p.shape) != 1 || p.shape[0] < 2 {
		return fmt.Errorf("%s: examples are of shape %v: only tables of two columns or more have a target column", p.name, p.shape)
	}
	width := p.shape[0]
	if column < 0 {
		column += width
	}
	if column < 0 || column >= width {
		return fmt.Errorf("%s has columns 0 to %d (or -%d to -1): there is no column %d", p.name, width-1, width, column)
	}
	p.y = answers{name: fmt.Sprintf("column %d of %s", column, p.name), n: p.n, width: 1, whole: whole}
	floats, bytes := p.floats[:0], p.bytes[:0]
	for i := range p.n * width {
		here := i%width == column
		switch {
		case p.bytes != nil && here:
			p.y.numbers = append(p.y.numbers, float64(p.bytes[i]))
		case p.bytes != nil:
			bytes = append(bytes, p.bytes[i])
		case here:
			v := p.floats[i]
			if v-v != 0 {
				return fmt.Errorf("%s: target of example %d is %v: every target must be a finite number", p.y.name, i/width, v)
			}
			p.y.numbers = append(p.y.numbers, float64(v))
		default:
			floats = append(floats, p.floats[i])
		}
	}
	if p.shape = []int{width - 1}; p.bytes != nil {
		p.bytes = bytes
	} else {
		p.floats = floats
	}
	return nil
}

// readNPZ reads arrays of a zip file of NPY files.
func readNPZ(file string, o Options) (*found, error) {
	in, err := open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.file.Stat()
	if err != nil {
		return nil, plain(err)
	}
	z, err := zip.NewReader(in.file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s is not an intact NPZ (zip) file, and may be cut short: %w", file, short(err))
	}
	if len(z.File) > maxMembers {
		return nil, fmt.Errorf("%s has %d members, more than %d", file, len(z.File), maxMembers)
	}
	members := map[string]*zip.File{}
	var names []string
	for _, m := range z.File {
		name, isArray := strings.CutSuffix(m.Name, ".npy")
		switch {
		case path.IsAbs(m.Name) || strings.Contains(m.Name, "..") || strings.ContainsAny(m.Name, "\\:") || m.Name != Printable(m.Name):
			return nil, fmt.Errorf("%s: member %.80q would leave the archive, or cannot be shown: numpy.savez makes no such names", file, m.Name)
		case !isArray:
			return nil, fmt.Errorf("%s: member %.80q is no array: an NPZ file holds .npy members only", file, m.Name)
		case members[name] != nil:
			return nil, fmt.Errorf("%s: member %.80q is there twice", file, m.Name)
		}
		members[name] = m
		names = append(names, name)
	}
	load := func(name string, check func(*array) error) (*array, error) {
		m := members[name]
		label := fmt.Sprintf("%s: %s", file, name)
		if m.UncompressedSize64 > MaxInput {
			return nil, fmt.Errorf("%s unpacks to %d bytes, more than the %d that are read", label, m.UncompressedSize64, int64(MaxInput))
		}
		r, err := m.Open()
		if err != nil {
			return nil, fmt.Errorf("%s cannot be unpacked: %w", label, err)
		}
		defer r.Close()
		return readNPYArray(&limited{r: r, left: MaxInput}, label, check)
	}
	return readNamed(file, "NPZ", names, o, load)
}
