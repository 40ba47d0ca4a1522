package report

import (
	"fmt"
	"html/template"
	"math"
	"time"

	"github.com/understudy-serving/understudy/gate"
)

// plotHistogram draws counts as bars, and where there is a second arm its counts as a line.
func plotHistogram(title string, bins []Bin, both bool) template.HTML {
	if len(bins) == 0 {
		return ""
	}
	var most int64 = 1
	for _, b := range bins {
		most = max(most, b.Count, b.Challenger)
	}
	d := newDrawing(halfWidth, plotHeight, title)
	x, y := plotX(bins[0].Low, bins[len(bins)-1].High, halfWidth), plotY(float64(most)*1.05)
	d.scaleY(x, y, 4, brief)
	d.scaleX(x, y, 6, false, figure)
	class := "difference"
	if both {
		class = "champion"
	}
	var outline []point
	for _, b := range bins {
		left, right, top := x.at(b.Low), x.at(b.High), y.at(float64(b.Count))
		hint := fmt.Sprintf("%s to %s: %s", figure(b.Low), figure(b.High), gate.Number(b.Count))
		if both {
			hint += " of the champion, " + gate.Number(b.Challenger) + " of the challenger"
		}
		d.rect("bar "+class, left+0.5, top, right-left-1, y.from-top, hint)
		outline = append(outline, point{left, y.at(float64(b.Challenger))}, point{right, y.at(float64(b.Challenger))})
	}
	if both {
		d.path("stroke challenger", outline)
	} else if x.low < 0 && x.high > 0 {
		d.line("zero", x.at(0), y.from, x.at(0), y.to)
	}
	return d.end()
}

// brief writes a count in few characters.
func brief(v float64) string {
	switch {
	case v >= 1e6:
		return figure(v/1e6) + "M"
	case v >= 1e4:
		return figure(v/1e3) + "k"
	}
	return figure(v)
}

// plotTimeline draws the share that disagrees over time, above how many were compared.
func plotTimeline(moments []Moment) template.HTML {
	if len(moments) < 2 {
		return ""
	}
	var most float64
	var compared int64 = 1
	for _, m := range moments {
		most = max(most, share(m.Disagree, m.Compared))
		compared = max(compared, m.Compared)
	}
	last := moments[len(moments)-1]
	d := newDrawing(plotWidth, plotHeight, "disagreement over time")
	start, end := moments[0].Time, last.Time.Add(time.Duration(last.Seconds)*time.Second)
	x, y := plotX(0, end.Sub(start).Seconds(), plotWidth), plotY(max(most*1.1, 1e-3))
	volume := axis{high: float64(compared), from: y.from, to: y.from - (y.from-y.to)/4}
	var line []point
	for _, m := range moments {
		from := m.Time.Sub(start).Seconds()
		left, right := x.at(from), x.at(from+float64(m.Seconds))
		rate := share(m.Disagree, m.Compared)
		hint := fmt.Sprintf("%s UTC: %s of %s disagree, %s", m.Time.Format(time.DateTime), gate.Number(m.Disagree), gate.Number(m.Compared), percent(rate))
		top := volume.at(float64(m.Compared))
		d.rect("bar volume", left, top, right-left-0.5, y.from-top, hint)
		if m.Compared > 0 {
			line = append(line, point{(left + right) / 2, y.at(rate)})
		}
	}
	d.scaleY(x, y, 4, percent)
	d.path("stroke challenger", line)
	d.timeAxis(start, end, x, y)
	return d.end()
}

// timeAxis labels whole units of time.
func (d *drawing) timeAxis(start, end time.Time, x, y axis) {
	span := end.Sub(start)
	step, layout := 24*time.Hour, "Jan 2"
	for _, s := range []struct {
		step   time.Duration
		layout string
	}{{10 * time.Second, "15:04:05"}, {time.Minute, "15:04"}, {5 * time.Minute, "15:04"}, {15 * time.Minute, "15:04"}, {time.Hour, "15:04"},
		{4 * time.Hour, "Jan 2 15:04"}, {12 * time.Hour, "Jan 2 15:04"}} {
		if span/s.step <= 7 {
			step, layout = s.step, s.layout
			break
		}
	}
	for span/step > 9 {
		step *= 2
	}
	for t := start.Truncate(step); !t.After(end); t = t.Add(step) {
		if t.Before(start) {
			continue
		}
		at := x.at(t.Sub(start).Seconds())
		d.line("tick", at, y.from, at, y.from+4)
		d.text("middle", min(max(at, x.from+14), x.to-14), y.from+17, t.Format(layout))
	}
}

// plotSegments draws each cohort's rate with its interval, beside that of all requests.
func plotSegments(all Rate, segments []Segment) template.HTML {
	const row, label = 22, 190
	segments = segments[:min(len(segments), 24)]
	if len(segments) == 0 {
		return ""
	}
	var most float64
	for _, s := range segments {
		if s.Compared > 0 {
			most = max(most, s.Disagreement.High)
		}
	}
	height := float64(row*(len(segments)+1) + plotBottom + 8)
	d := newDrawing(plotWidth, height, "disagreement by segment")
	x := axis{high: min(max(most, all.High)*1.05, 1), from: label, to: plotWidth - plotRight - 40}
	y := axis{from: height - plotBottom, to: 4}
	d.scaleX(x, y, 6, true, percent)
	d.rect("band", x.at(all.Low), y.to, x.at(all.High)-x.at(all.Low), y.from-y.to, "all requests")
	for i, s := range segments {
		at := y.to + row*(float64(i)+0.7)
		d.text("end", label-10, at+4, clip(plain(s.Name), 28))
		if s.Compared == 0 {
			continue
		}
		hint := fmt.Sprintf("%s: %s of %s, %s, between %s", plain(s.Name), gate.Number(s.Disagree), gate.Number(s.Compared), percent(s.Disagreement.Rate), between(s.Disagreement))
		d.line("whisker", x.at(s.Disagreement.Low), at, x.at(s.Disagreement.High), at)
		d.dot("challenger", x.at(s.Disagreement.Rate), at, 4.5, hint)
	}
	return d.end()
}

// plotLatency draws both arms' quantiles on a logarithmic axis.
func plotLatency(a *Arms) template.HTML {
	const row, label = 30, 90
	if a.Champion.Latency == nil && a.Challenger.Latency == nil {
		return ""
	}
	low, high := math.Inf(1), 0.0
	rows := []struct {
		name, class string
		q           *Quantiles
	}{{"champion", "champion", a.Champion.Latency}, {"challenger", "challenger", a.Challenger.Latency}}
	for _, r := range rows {
		if r.q != nil && r.q.P50 > 0 {
			low, high = min(low, r.q.P50), max(high, r.q.Max)
		}
	}
	if !(low < math.Inf(1)) {
		return ""
	}
	height := float64(row*len(rows) + plotBottom + 22)
	d := newDrawing(plotWidth, height, "latency quantiles")
	x := axis{low: low / 1.3, high: high * 1.2, from: label, to: plotWidth - plotRight, log: true}
	y := axis{from: height - plotBottom, to: 18}
	d.scaleX(x, y, 8, true, seconds)
	for i, r := range rows {
		at := y.to + row*(float64(i)+0.6)
		d.text("end", label-10, at+4, r.name)
		if r.q == nil {
			continue
		}
		d.line("whisker "+r.class, x.at(r.q.P50), at, x.at(r.q.Max), at)
		for _, p := range []struct {
			name string
			v    float64
			size float64
		}{{"p50", r.q.P50, 6}, {"p90", r.q.P90, 5}, {"p99", r.q.P99, 4}, {"p99.9", r.q.P999, 3}, {"max", r.q.Max, 2}} {
			d.dot(r.class, x.at(p.v), at, p.size, r.name+" "+p.name+" "+seconds(p.v))
		}
	}
	return d.end()
}
