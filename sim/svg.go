package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// point is in the units of its axes.
type point struct{ x, y float64 }

// axis is one direction of a plot.
type axis struct {
	from, to float64
	log      bool
	ticks    []float64
	label    string
	show     func(float64) string
}

// at places v between 0 and 1.
func (a axis) at(v float64) float64 {
	if a.log {
		return math.Log(v/a.from) / math.Log(a.to/a.from)
	}
	return (v - a.from) / (a.to - a.from)
}

// plot is a drawing with two axes, as SVG.
type plot struct {
	b             strings.Builder
	width, height float64
	left, bottom  float64
	x, y          axis
}

// Colours that stay apart for colour-blind eyes (Okabe and Ito), and on a dark page.
const (
	blue   = "#0072b2"
	orange = "#d55e00"
	green  = "#009e73"
	pink   = "#cc79a7"
	grey   = "#8c8c8c"
	ink    = "#444444"
)

const (
	top   = 44
	right = 24
)

func newPlot(title string, x, y axis) *plot {
	p := &plot{width: 760, height: 420, left: 74, bottom: 56, x: x, y: y}
	p.open(title)
	p.axes()
	return p
}

func (p *plot) open(title string) {
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="13" fill="%s">`+"\n", p.width, p.height, ink)
	fmt.Fprintf(&p.b, `<rect width="%g" height="%g" fill="#ffffff"/>`+"\n", p.width, p.height)
	fmt.Fprintf(&p.b, `<text x="14" y="24" font-size="15" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
}

func (p *plot) axes() {
	x0, x1, y0, y1 := p.left, p.width-right, p.height-p.bottom, float64(top)
	for _, v := range p.x.ticks {
		x := p.px(v)
		p.line(x, y0, x, y1, "#e6e6e6", 1, "")
		p.text(x, y0+18, "middle", p.x.show(v))
	}
	for _, v := range p.y.ticks {
		y := p.py(v)
		p.line(x0, y, x1, y, "#e6e6e6", 1, "")
		p.text(x0-8, y+4, "end", p.y.show(v))
	}
	p.line(x0, y0, x1, y0, ink, 1, "")
	p.line(x0, y0, x0, y1, ink, 1, "")
	p.text((x0+x1)/2, p.height-14, "middle", p.x.label)
	fmt.Fprintf(&p.b, `<text transform="translate(18 %.1f) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (y0+y1)/2, html.EscapeString(p.y.label))
}

func (p *plot) px(v float64) float64 { return p.left + p.x.at(v)*(p.width-right-p.left) }
func (p *plot) py(v float64) float64 { return p.height - p.bottom - p.y.at(v)*(p.height-p.bottom-top) }

func (p *plot) line(x0, y0, x1, y1 float64, colour string, width float64, dash string) {
	fmt.Fprintf(&p.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g" stroke-dasharray="%s"/>`+"\n", x0, y0, x1, y1, colour, width, dash)
}

func (p *plot) text(x, y float64, anchor, text string) {
	fmt.Fprintf(&p.b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}

// curve draws through points; what leaves the plot is cut at its edge.
func (p *plot) curve(points []point, colour string, width, opacity float64, dots bool) {
	var at []string
	for _, q := range points {
		y := min(max(q.y, p.y.from), p.y.to)
		at = append(at, fmt.Sprintf("%.1f,%.1f", p.px(q.x), p.py(y)))
		if dots {
			fmt.Fprintf(&p.b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", p.px(q.x), p.py(y), colour)
		}
	}
	fmt.Fprintf(&p.b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%g" stroke-opacity="%g" stroke-linejoin="round"/>`+"\n", strings.Join(at, " "), colour, width, opacity)
}

// bar fills a box that is given in pixels.
func (p *plot) bar(x, y, width, height float64, colour string) {
	fmt.Fprintf(&p.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, max(width, 1), height, colour)
}

// entry is a line of a legend.
type entry struct{ colour, text string }

func (p *plot) legend(x, y float64, entries ...entry) {
	for i, e := range entries {
		at := y + 18*float64(i)
		p.bar(x, at-9, 14, 9, e.colour)
		p.text(x+20, at, "start", e.text)
	}
}

func (p *plot) svg() []byte { return []byte(p.b.String() + "</svg>\n") }
