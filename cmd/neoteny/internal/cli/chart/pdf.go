package chart

import (
	"image"
	"image/color"
	"io"
	"math"
	"time"

	"codeberg.org/go-fonts/liberation/liberationsansregular"
	"codeberg.org/go-pdf/fpdf"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
)

// pdfCanvas draws into a PDF. Unlike that of gonum, which writes texts in an 8-bit code
// page, it embeds the letters of any text that the typeface has, such as λ, as text
// that can be searched.
type pdfCanvas struct {
	doc           *fpdf.Fpdf
	width, height vg.Length
	stack         []pdfState
}

type pdfState struct {
	colour color.Color
	width  vg.Length
}

const pdfFamily = "liberation"

func newPDF(title string, width, height float64) *pdfCanvas {
	c := &pdfCanvas{
		doc:   fpdf.NewCustom(&fpdf.InitType{UnitStr: "pt", Size: fpdf.SizeType{Wd: width, Ht: height}}),
		width: vg.Points(width), height: vg.Points(height), stack: make([]pdfState, 1),
	}
	// Equal figures are equal files.
	c.doc.SetCatalogSort(true)
	c.doc.SetCreationDate(time.Unix(0, 0).UTC())
	c.doc.SetModificationDate(time.Unix(0, 0).UTC())
	c.doc.SetProducer("neoteny", true)
	c.doc.SetTitle(title, true)
	c.doc.SetAutoPageBreak(false, 0)
	c.doc.SetMargins(0, 0, 0)
	c.doc.AddUTF8FontFromBytes(pdfFamily, "", liberationsansregular.TTF)
	c.doc.AddPage()
	c.doc.SetLineJoinStyle("round")
	vg.Initialize(c)
	return c
}

func (c *pdfCanvas) Size() (w, h vg.Length) { return c.width, c.height }

func (c *pdfCanvas) state() *pdfState { return &c.stack[len(c.stack)-1] }

func (c *pdfCanvas) SetLineWidth(w vg.Length) {
	c.state().width = w
	c.doc.SetLineWidth(w.Points())
}

func (c *pdfCanvas) SetLineDash(pattern []vg.Length, offset vg.Length) {
	p := make([]float64, len(pattern))
	for i, d := range pattern {
		p[i] = d.Points()
	}
	c.doc.SetDashPattern(p, offset.Points())
}

func (c *pdfCanvas) SetColor(col color.Color) {
	if col == nil {
		col = color.Black
	}
	c.state().colour = col
	n := color.NRGBAModel.Convert(col).(color.NRGBA)
	c.doc.SetFillColor(int(n.R), int(n.G), int(n.B))
	c.doc.SetDrawColor(int(n.R), int(n.G), int(n.B))
	c.doc.SetTextColor(int(n.R), int(n.G), int(n.B))
	c.doc.SetAlpha(float64(n.A)/255, "Normal")
}

func (c *pdfCanvas) Push() {
	c.stack = append(c.stack, *c.state())
	c.doc.TransformBegin()
}

func (c *pdfCanvas) Pop() {
	c.doc.TransformEnd()
	c.stack = c.stack[:len(c.stack)-1]
	// The transformation's end puts back what the file says, not what the document
	// believes it says.
	c.SetColor(c.state().colour)
	c.SetLineWidth(c.state().width)
}

// The document's origin is the upper left corner, the canvas's the lower left one.
func (c *pdfCanvas) Rotate(radians float64) {
	c.doc.TransformRotate(radians*180/math.Pi, 0, c.height.Points())
}

func (c *pdfCanvas) Translate(by vg.Point) {
	c.doc.TransformTranslate(by.X.Points(), -by.Y.Points())
}

func (c *pdfCanvas) Scale(x, y float64) {
	c.doc.TransformScale(x*100, y*100, 0, c.height.Points())
}

func (c *pdfCanvas) at(p vg.Point) (x, y float64) { return p.X.Points(), (c.height - p.Y).Points() }

func (c *pdfCanvas) Stroke(p vg.Path) {
	if c.state().width > 0 {
		c.path(p, "D")
	}
}

func (c *pdfCanvas) Fill(p vg.Path) { c.path(p, "F") }

func (c *pdfCanvas) path(p vg.Path, style string) {
	for _, e := range p {
		switch e.Type {
		case vg.MoveComp:
			c.doc.MoveTo(c.at(e.Pos))
		case vg.LineComp:
			c.doc.LineTo(c.at(e.Pos))
		case vg.CloseComp:
			c.doc.ClosePath()
		case vg.ArcComp:
			c.arc(e)
		case vg.CurveComp:
			x, y := c.at(e.Pos)
			x0, y0 := c.at(e.Control[0])
			if len(e.Control) == 1 {
				c.doc.CurveTo(x0, y0, x, y)
				continue
			}
			x1, y1 := c.at(e.Control[1])
			c.doc.CurveBezierCubicTo(x0, y0, x1, y1, x, y)
		}
	}
	c.doc.DrawPath(style)
}

// arc draws an arc as cubic curves of at most a quarter of a circle.
func (c *pdfCanvas) arc(e vg.PathComp) {
	parts := int(math.Ceil(math.Abs(e.Angle)/(math.Pi/2) - 1e-9))
	step := e.Angle / float64(parts)
	k := vg.Length(4.0 / 3 * math.Tan(step/4))
	point := func(a float64) (p, along vg.Point) {
		cos, sin := vg.Length(math.Cos(a)), vg.Length(math.Sin(a))
		return vg.Point{X: e.Pos.X + e.Radius*cos, Y: e.Pos.Y + e.Radius*sin}, vg.Point{X: -e.Radius * sin * k, Y: e.Radius * cos * k}
	}
	from, out := point(e.Start)
	c.doc.LineTo(c.at(from))
	for i := range parts {
		to, in := point(e.Start + step*float64(i+1))
		x0, y0 := c.at(vg.Point{X: from.X + out.X, Y: from.Y + out.Y})
		x1, y1 := c.at(vg.Point{X: to.X - in.X, Y: to.Y - in.Y})
		x, y := c.at(to)
		c.doc.CurveBezierCubicTo(x0, y0, x1, y1, x, y)
		from, out = to, in
	}
}

func (c *pdfCanvas) FillString(f font.Face, p vg.Point, text string) {
	c.doc.SetFont(pdfFamily, "", f.Font.Size.Points())
	x, y := c.at(p)
	c.doc.Text(x, y, text)
}

// DrawImage is part of a canvas; figures have no images in them.
func (c *pdfCanvas) DrawImage(vg.Rectangle, image.Image) {}

func (c *pdfCanvas) writeTo(w io.Writer) error { return c.doc.Output(w) }
