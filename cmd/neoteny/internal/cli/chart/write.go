package chart

import (
	"bytes"
	"fmt"
	"io"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Format is a kind of file.
type Format string

// The formats that figures can be written in.
const (
	SVG Format = "svg"
	PDF Format = "pdf"
	PNG Format = "png"
)

// dpi is the resolution of PNG: that of print.
const dpi = 300

// Write draws the figure. It returns an error if there is no value to draw.
func (f *Figure) Write(w io.Writer, format Format) error {
	l, err := arrange(f)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := l.write(&buf, format); err != nil {
		return fmt.Errorf("draw %q: %w", f.Title, err)
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("draw %q: %w", f.Title, err)
	}
	return nil
}

// WriteSVG draws the figure as SVG.
func (f *Figure) WriteSVG(w io.Writer) error { return f.Write(w, SVG) }

func (l *layout) write(buf *bytes.Buffer, format Format) error {
	width, height := vg.Points(l.width), vg.Points(l.height)
	switch format {
	case SVG:
		c := vgsvg.New(width, height)
		l.draw(c)
		var raw bytes.Buffer
		if _, err := c.WriteTo(&raw); err != nil {
			return err
		}
		// The family alone would fall back to a serif face where it is not installed.
		buf.Write(bytes.ReplaceAll(raw.Bytes(), []byte("font-family:Liberation Sans"),
			[]byte("font-family:Liberation Sans, Arial, Helvetica, sans-serif")))
		return nil
	case PNG:
		// A figure with very many panels is drawn coarser, so that it can be opened.
		res := min(dpi, int(20_000*72/max(l.width, l.height)))
		c := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(res))
		l.draw(c)
		_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(buf)
		return err
	case PDF:
		c := newPDF(l.Title, l.width, l.height)
		l.draw(c)
		return c.writeTo(buf)
	}
	return fmt.Errorf("there is no format %q (have: svg, pdf, png)", format)
}
