package dataimport

import (
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // registers the format
	_ "image/png"  // registers the format
	"os"
	"path/filepath"
	"slices"
	"strings"

	"neoteny/pkg/engine/data"
)

// readFolder reads a folder of images with a folder for each class, or of IDX files.
func readFolder(folder string, o Options) (*found, error) {
	entries, err := listed(folder)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return !e.IsDir() && isIDX(e.Name())
	}) {
		return idxFolder(folder, entries)
	}
	if o.Target != "" {
		return nil, fmt.Errorf("%s: --target is of no use with a folder of images: their folders are the classes", folder)
	}
	f := &found{format: "images"}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	if slices.Contains(names, "train") && slices.ContainsFunc(names, func(n string) bool { return n == "test" || n == "val" || n == "valid" }) || slices.Equal(names, []string{"train"}) {
		for _, name := range names {
			if name != "train" && name != "test" {
				f.notes = append(f.notes, fmt.Sprintf("%s: not used: %s", folder, name))
			}
		}
		g := &gathering{found: f}
		if err := g.split(&f.train, filepath.Join(folder, "train")); err != nil {
			return nil, err
		}
		if slices.Contains(names, "test") {
			f.test = &part{}
			err = g.split(f.test, filepath.Join(folder, "test"))
		}
		return f, err
	}
	return f, (&gathering{found: f}).split(&f.train, folder)
}

// listed lists a folder, without hidden files.
func listed(folder string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, plain(err)
	}
	return slices.DeleteFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }), nil
}

// gathering reads images, which must all be alike.
type gathering struct {
	*found
	first string // the image that the others must be like
	shape []int
	bytes int64
	files int
}

// split reads a folder with a folder of images for each class.
func (g *gathering) split(p *part, folder string) error {
	p.name, p.y.name = folder, "folders of "+folder
	classes, err := listed(folder)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range classes {
		inside := filepath.Join(folder, c.Name())
		if info, err := os.Stat(inside); err != nil {
			return plain(err)
		} else if !info.IsDir() {
			return fmt.Errorf("%s: images lie in one folder for each class: %s lies beside them", folder, c.Name())
		}
		names = append(names, c.Name())
		files, err := listed(inside)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s has no images: remove the folder, or give the class some", inside)
		}
		if g.files += len(files); g.files > maxImages {
			return fmt.Errorf("%s has more than %d images", folder, maxImages)
		}
		for _, e := range files {
			if err := g.image(p, filepath.Join(inside, e.Name())); err != nil {
				return err
			}
			p.y.text = append(p.y.text, c.Name())
			p.n++
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%s is empty: images lie in one folder for each class", folder)
	}
	p.shape, p.y.n, p.y.width = g.shape, p.n, 1
	if g.classes == nil {
		g.classes = names
	}
	return nil
}

// image reads one image.
func (g *gathering) image(p *part, path string) error {
	in, err := open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	switch strings.ToLower(filepath.Ext(path)) {
	case ".png", ".jpg", ".jpeg":
	default:
		return fmt.Errorf("%s is no PNG or JPEG image by its name: a class's folder holds nothing else", path)
	}
	config, _, err := image.DecodeConfig(in)
	if err != nil {
		return fmt.Errorf("%s is no intact PNG or JPEG image: %w", path, short(err))
	}
	shape := []int{3, config.Height, config.Width}
	if config.ColorModel == color.GrayModel || config.ColorModel == color.Gray16Model {
		shape = shape[1:]
	}
	size := int64(config.Height) * int64(config.Width)
	if len(shape) == 3 {
		size *= 3
	}
	switch {
	case size < 1 || size > data.MaxFeatures:
		return fmt.Errorf("%s has %d × %d pixels: an example has at most %d values", path, config.Width, config.Height, data.MaxFeatures)
	case g.shape == nil:
		g.first, g.shape = path, shape
	case len(shape) != len(g.shape):
		return fmt.Errorf("%s is %s, %s is %s: all images must have the same channels", path, colours(shape), g.first, colours(g.shape))
	case !slices.Equal(shape, g.shape):
		return fmt.Errorf("%s has %d × %d pixels, %s has %d × %d: all images must be of one size", path, config.Width, config.Height,
			g.first, g.shape[len(g.shape)-1], g.shape[len(g.shape)-2])
	}
	if g.bytes += size; g.bytes > data.MaxBytes {
		return fmt.Errorf("%s: the images up to here have more than the %d bytes of a dataset", path, int64(data.MaxBytes))
	}
	if _, err := in.file.Seek(0, 0); err != nil {
		return plain(err)
	}
	m, _, err := image.Decode(in.file)
	if err != nil {
		return fmt.Errorf("%s is no intact PNG or JPEG image: %w", path, short(err))
	}
	bounds := m.Bounds()
	if bounds.Dx() != config.Width || bounds.Dy() != config.Height {
		return fmt.Errorf("%s is no intact image: its header says %d × %d pixels, it has %d × %d", path, config.Width, config.Height, bounds.Dx(), bounds.Dy())
	}
	base := len(p.bytes)
	p.bytes = append(p.bytes, make([]uint8, size)...)
	out := p.bytes[base:]
	plane := config.Height * config.Width
	for y := range config.Height {
		for x := range config.Width {
			at := m.At(bounds.Min.X+x, bounds.Min.Y+y)
			i := y*config.Width + x
			if len(shape) == 2 {
				out[i] = color.GrayModel.Convert(at).(color.Gray).Y
				continue
			}
			c := color.NRGBAModel.Convert(at).(color.NRGBA)
			if c.A != 255 {
				return fmt.Errorf("%s is transparent at row %d, column %d: save it without an alpha channel, on a background of your choice", path, y, x)
			}
			out[i], out[plane+i], out[2*plane+i] = c.R, c.G, c.B
		}
	}
	return nil
}

func colours(shape []int) string {
	if len(shape) == 2 {
		return "grey"
	}
	return "in colour"
}
