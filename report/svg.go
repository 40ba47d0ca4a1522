package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// The plots are drawn here, in units of CSS pixels, and take their colours from the page.
const (
	plotWidth  = 720
	halfWidth  = 440 // of two that stand side by side
	plotHeight = 190
	plotLeft   = 56 // room for the labels of the vertical axis
	plotRight  = 12
	plotTop    = 10
	plotBottom = 26
)

// drawing is an SVG in the making.
type drawing struct {
	strings.Builder
	width, height float64
}

func newDrawing(width, height float64, title string) *drawing {
	d := &drawing{width: width, height: height}
	d.put(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s"><title>%s</title>`, width, height, html.EscapeString(title), html.EscapeString(title))
	return d
}

func (d *drawing) put(format string, args ...any) { fmt.Fprintf(d, format, args...) }

func (d *drawing) end() template.HTML {
	d.WriteString("</svg>")
	return template.HTML(d.String()) // all text in it was escaped
}

func (d *drawing) rect(class string, x, y, w, h float64, hint string) {
	d.put(`<rect class="%s" x="%.2f" y="%.2f" width="%.2f" height="%.2f"`, class, x, y, max(w, 0), max(h, 0))
	if hint == "" {
		d.WriteString("/>")
		return
	}
	d.put(`><title>%s</title></rect>`, html.EscapeString(hint))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	d.put(`<line class="%s" x1="%.2f" y1="%.2f" x2="%.2f" y2="%.2f"/>`, class, x1, y1, x2, y2)
}

func (d *drawing) dot(class string, x, y, r float64, hint string) {
	d.put(`<circle class="%s" cx="%.2f" cy="%.2f" r="%g"><title>%s</title></circle>`, class, x, y, r, html.EscapeString(hint))
}

// text is anchored at its start, middle or end.
func (d *drawing) text(anchor string, x, y float64, s string) {
	d.put(`<text text-anchor="%s" x="%.2f" y="%.2f">%s</text>`, anchor, x, y, html.EscapeString(s))
}

func (d *drawing) path(class string, points []point) {
	var b strings.Builder
	for i, p := range points {
		b.WriteString([2]string{"M", "L"}[min(i, 1)])
		fmt.Fprintf(&b, "%.2f %.2f", p.x, p.y)
	}
	d.put(`<path class="%s" d="%s"/>`, class, b.String())
}

type point struct{ x, y float64 }

// axis maps values to places.
type axis struct {
	low, high, from, to float64
	log                 bool
}

func (a axis) at(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log(v), math.Log(low), math.Log(high)
	}
	if high == low {
		return a.from
	}
	return a.from + (min(max(v, low), high)-low)/(high-low)*(a.to-a.from)
}

// ticks are about n round values; on a logarithmic axis 1, 2 and 5 of each decade.
func (a axis) ticks(n int) (out []float64) {
	if a.log {
		return a.decades(n)
	}
	span := a.high - a.low
	if !(span > 0) {
		return []float64{a.low}
	}
	step := math.Pow(10, math.Floor(math.Log10(span/float64(n))))
	for _, times := range [...]float64{1, 2, 5, 10} {
		if span/(step*times) <= float64(n) {
			step *= times
			break
		}
	}
	for k := math.Ceil(a.low / step); k*step <= a.high+step/1e6; k++ {
		out = append(out, k*step+0) // −0 is 0
	}
	return out
}

func (a axis) decades(n int) (out []float64) {
	for k := math.Floor(math.Log10(a.low)); math.Pow(10, k) <= a.high; k++ {
		for _, times := range [...]float64{1, 2, 5} {
			if v := times * math.Pow(10, k); v >= a.low && v <= a.high && (times == 1 || math.Log10(a.high/a.low) < float64(n)/3) {
				out = append(out, v)
			}
		}
	}
	return out
}

// scaleY draws the vertical axis of a plot, with lines across it.
func (d *drawing) scaleY(x, y axis, n int, label func(float64) string) {
	for _, v := range y.ticks(n) {
		d.line("grid", x.from, y.at(v), x.to, y.at(v))
		d.text("end", x.from-6, y.at(v)+4, label(v))
	}
	d.line("axis", x.from, y.from, x.to, y.from)
}

// scaleX draws the ticks of the horizontal axis, tall ones as lines through the plot.
func (d *drawing) scaleX(x, y axis, n int, tall bool, label func(float64) string) {
	for _, v := range x.ticks(n) {
		if tall {
			d.line("grid", x.at(v), y.from, x.at(v), y.to)
		} else {
			d.line("tick", x.at(v), y.from, x.at(v), y.from+4)
		}
		d.text("middle", x.at(v), y.from+17, label(v))
	}
}

func plotX(low, high, width float64) axis {
	return axis{low: low, high: high, from: plotLeft, to: width - plotRight}
}

func plotY(high float64) axis {
	return axis{high: high, from: plotHeight - plotBottom, to: plotTop}
}
