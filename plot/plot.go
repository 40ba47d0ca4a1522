// Package plot draws the figures of the docs: as SVG, in colours that everybody can tell
// apart, without a library.
package plot

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Point is in the units of its axes.
type Point struct{ X, Y float64 }

// Axis is one direction of a plot.
type Axis struct {
	From, To float64
	Log      bool
	Ticks    []float64
	Label    string
	Show     func(float64) string
}

// at places v between 0 and 1.
func (a Axis) at(v float64) float64 {
	if a.Log {
		return math.Log(v/a.From) / math.Log(a.To/a.From)
	}
	return (v - a.From) / (a.To - a.From)
}

// Plot is a drawing, as SVG, with or without axes.
type Plot struct {
	b             strings.Builder
	Width, Height float64
	Left, Bottom  float64
	x, y          Axis
}

// Colours that stay apart for colour-blind eyes (Okabe and Ito), and on a dark page.
const (
	Blue   = "#0072b2"
	Orange = "#d55e00"
	Green  = "#009e73"
	Pink   = "#cc79a7"
	Grey   = "#8c8c8c"
	Ink    = "#444444"
)

// The room above the plot, for its title, and beside it.
const (
	Top   = 44
	Right = 24
)

// New begins a drawing with two axes.
func New(title string, x, y Axis) *Plot {
	p := &Plot{Width: 760, Height: 420, Left: 74, Bottom: 56, x: x, y: y}
	p.open(title)
	p.axes()
	return p
}

// Bare begins a drawing without axes.
func Bare(title string, width, height float64) *Plot {
	p := &Plot{Width: width, Height: height}
	p.open(title)
	return p
}

func (p *Plot) open(title string) {
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="13" fill="%s">`+"\n", p.Width, p.Height, Ink)
	fmt.Fprintf(&p.b, `<rect width="%g" height="%g" fill="#ffffff"/>`+"\n", p.Width, p.Height)
	fmt.Fprintf(&p.b, `<text x="14" y="24" font-size="15" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
}

func (p *Plot) axes() {
	x0, x1, y0, y1 := p.Left, p.Width-Right, p.Height-p.Bottom, float64(Top)
	for _, v := range p.x.Ticks {
		x := p.PX(v)
		p.Line(x, y0, x, y1, "#e6e6e6", 1, "")
		p.Text(x, y0+18, "middle", p.x.Show(v))
	}
	for _, v := range p.y.Ticks {
		y := p.PY(v)
		p.Line(x0, y, x1, y, "#e6e6e6", 1, "")
		p.Text(x0-8, y+4, "end", p.y.Show(v))
	}
	p.Line(x0, y0, x1, y0, Ink, 1, "")
	p.Line(x0, y0, x0, y1, Ink, 1, "")
	p.Text((x0+x1)/2, p.Height-14, "middle", p.x.Label)
	fmt.Fprintf(&p.b, `<text transform="translate(18 %.1f) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (y0+y1)/2, html.EscapeString(p.y.Label))
}

// PX is where a value of the x axis stands, in pixels.
func (p *Plot) PX(v float64) float64 { return p.Left + p.x.at(v)*(p.Width-Right-p.Left) }

// PY is where a value of the y axis stands, in pixels.
func (p *Plot) PY(v float64) float64 { return p.Height - p.Bottom - p.y.at(v)*(p.Height-p.Bottom-Top) }

// Line draws from one place in pixels to another.
func (p *Plot) Line(x0, y0, x1, y1 float64, colour string, width float64, dash string) {
	fmt.Fprintf(&p.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g" stroke-dasharray="%s"/>`+"\n", x0, y0, x1, y1, colour, width, dash)
}

// Text writes at a place in pixels; anchor is start, middle or end.
func (p *Plot) Text(x, y float64, anchor, text string) {
	fmt.Fprintf(&p.b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}

// Curve draws through points; what leaves the plot is cut at its edge.
func (p *Plot) Curve(points []Point, colour string, width, opacity float64, dots bool) {
	var at []string
	for _, q := range points {
		y := min(max(q.Y, p.y.From), p.y.To)
		at = append(at, fmt.Sprintf("%.1f,%.1f", p.PX(q.X), p.PY(y)))
		if dots {
			fmt.Fprintf(&p.b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", p.PX(q.X), p.PY(y), colour)
		}
	}
	fmt.Fprintf(&p.b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%g" stroke-opacity="%g" stroke-linejoin="round"/>`+"\n", strings.Join(at, " "), colour, width, opacity)
}

// Bar fills a box that is given in pixels.
func (p *Plot) Bar(x, y, width, height float64, colour string) {
	fmt.Fprintf(&p.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, max(width, 1), height, colour)
}

// Entry is a line of a legend.
type Entry struct{ Colour, Text string }

// Legend writes one entry below the other, from a place in pixels on.
func (p *Plot) Legend(x, y float64, entries ...Entry) {
	for i, e := range entries {
		at := y + 18*float64(i)
		p.Bar(x, at-9, 14, 9, e.Colour)
		p.Text(x+20, at, "start", e.Text)
	}
}

// SVG ends the drawing.
func (p *Plot) SVG() []byte { return []byte(p.b.String() + "</svg>\n") }
