package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"

	"github.com/broadcastd/broadcastd/bench/stat"
)

// The drawings are SVG of fixed view boxes, in px, that the page scales.
const (
	chartWidth  = 560
	chartHeight = 300
	dotRow      = 26 // px a row of a dot chart
	dotLabel    = 150
	marginLeft  = 58
	marginRight = 16
	marginTop   = 14
	marginFoot  = 44
	ticks       = 5
	lineColours = 6 // classes c0 to c5 of the page
)

// A scale maps numbers to px.
type scale struct {
	low, high float64
	from, to  float64
	log       bool
}

func (s scale) at(v float64) float64 {
	low, high := s.low, s.high
	if s.log {
		v, low, high = math.Log10(max(v, s.low)), math.Log10(low), math.Log10(high)
	}
	if high == low {
		return (s.from + s.to) / 2
	}
	return s.from + (v-low)/(high-low)*(s.to-s.from)
}

// nice returns round numbers that lie within the scale.
func (s scale) nice() []float64 {
	if s.log {
		var list []float64
		for p := math.Floor(math.Log10(s.low)); p <= math.Ceil(math.Log10(s.high)); p++ {
			for _, m := range []float64{1, 2, 5} {
				if v := m * math.Pow(10, p); v >= s.low*0.999 && v <= s.high*1.001 {
					list = append(list, v)
				}
			}
		}
		return list
	}
	step := niceStep((s.high - s.low) / ticks)
	var list []float64
	for v := math.Ceil(s.low/step) * step; v <= s.high+step/1000; v += step {
		list = append(list, v)
	}
	return list
}

func niceStep(raw float64) float64 {
	if raw <= 0 {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*p >= raw {
			return m * p
		}
	}
	return 10 * p
}

func number(v float64) string {
	if math.Abs(v) < 1e-12 {
		return "0"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// A drawing collects SVG.
type drawing struct{ b strings.Builder }

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(&d.b, format+"\n", args...) }

func (d *drawing) text(x, y float64, class, s string) {
	d.add(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, html.EscapeString(s))
}

func (d *drawing) line(x1, y1, x2, y2 float64, class string) {
	d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`, x1, y1, x2, y2, class)
}

func (d *drawing) done(width, height float64, label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">`+"\n%s</svg>", //nolint:gosec // the texts in it are escaped
		width, height, html.EscapeString(label), d.b.String()))
}

// Dots draws one figure of a table: a row for each arm, a dot for each run, a
// bar for the interval and a tick at the median.
func Dots(t Table, f Figure) template.HTML {
	high := 0.0
	for _, s := range f.Arms {
		for _, v := range s.Values {
			if v.Known() {
				high = max(high, float64(v))
			}
		}
	}
	if high == 0 {
		return ""
	}
	var d drawing
	height := float64(marginTop + len(t.Arms)*dotRow + marginFoot - 14)
	x := scale{low: 0, high: high * 1.05, from: dotLabel, to: chartWidth - marginRight}
	foot := height - marginFoot + 18
	for _, v := range x.nice() {
		d.line(x.at(v), marginTop, x.at(v), foot, "grid")
		d.text(x.at(v), foot+16, "tick mid", number(v))
	}
	for i, a := range t.Arms {
		y := marginTop + (float64(i)+0.5)*dotRow
		s := f.Arms[i]
		c := "c" + strconv.Itoa(i%lineColours)
		d.text(dotLabel-10, y+4, "label end", a.Name)
		if s.Low.Known() && s.High.Known() {
			d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="8" rx="4" class="bar %s"/>`,
				x.at(float64(s.Low)), y-4, max(1, x.at(float64(s.High))-x.at(float64(s.Low))), c)
		}
		for _, v := range s.Values {
			if v.Known() {
				d.add(`<circle cx="%.1f" cy="%.1f" r="3" class="dot %s"/>`, x.at(float64(v)), y, c)
			}
		}
		if s.Median.Known() {
			m := x.at(float64(s.Median))
			d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="median %s"/>`, m, y-9, m, y+9, c)
		}
	}
	return d.done(chartWidth, height, f.Name)
}

// Draw draws the lines of c.
func (c Chart) Draw() template.HTML {
	var d drawing
	if !c.draw(&d) {
		return ""
	}
	return d.done(chartWidth, chartHeight, c.Title)
}

// draw draws the lines of c; false if there are none.
func (c Chart) draw(d *drawing) bool {
	xs, ys := c.scales()
	if xs.low > xs.high {
		return false
	}
	bottom := float64(chartHeight - marginFoot)
	for _, v := range ys.nice() {
		d.line(marginLeft, ys.at(v), chartWidth-marginRight, ys.at(v), "grid")
		d.text(marginLeft-8, ys.at(v)+4, "tick end", number(v))
	}
	for _, v := range c.marks(xs) {
		d.line(xs.at(v), bottom, xs.at(v), bottom+4, "axis")
		d.text(xs.at(v), bottom+18, "tick mid", number(v))
	}
	d.line(marginLeft, bottom, chartWidth-marginRight, bottom, "axis")
	d.text((marginLeft+chartWidth-marginRight)/2, chartHeight-6, "tick mid", c.X)
	if c.Limit != 0 && c.Limit <= ys.high {
		d.line(marginLeft, ys.at(c.Limit), chartWidth-marginRight, ys.at(c.Limit), "limit")
	}
	for i, l := range c.Lines {
		d.curve(l, xs, ys, "c"+strconv.Itoa(i%lineColours))
	}
	return true
}

// curve draws one line, with its intervals.
func (d *drawing) curve(l Line, xs, ys scale, class string) {
	var path strings.Builder
	pen := "M"
	for _, p := range l.Points {
		if !p.Y.Known() {
			pen = "M"
			continue
		}
		x, y := xs.at(p.X), ys.at(float64(p.Y))
		fmt.Fprintf(&path, "%s%.1f %.1f ", pen, x, y)
		pen = "L"
		if p.Low.Known() && p.High.Known() && p.Low != p.High {
			d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="whisker %s"/>`, x, ys.at(float64(p.Low)), x, ys.at(float64(p.High)), class)
		}
		d.add(`<circle cx="%.1f" cy="%.1f" r="3" class="dot %s"/>`, x, y, class)
	}
	d.add(`<path d="%s" class="line %s"/>`, strings.TrimSpace(path.String()), class)
}

// marks are where the x axis is labelled: at the points, where they are few.
func (c Chart) marks(xs scale) []float64 {
	seen := make(map[float64]bool)
	var list []float64
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if !seen[p.X] {
				seen[p.X] = true
				list = append(list, p.X)
			}
		}
	}
	if len(list) > 2*ticks {
		return xs.nice()
	}
	return list
}

// scales fits the axes to the points.
func (c Chart) scales() (xs, ys scale) {
	xs = scale{low: math.Inf(1), high: math.Inf(-1), from: marginLeft, to: chartWidth - marginRight - 8, log: c.LogX}
	ys = scale{low: math.Inf(1), high: math.Inf(-1), from: chartHeight - marginFoot, to: marginTop, log: c.LogY}
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if !p.Y.Known() {
				continue
			}
			xs.low, xs.high = min(xs.low, p.X), max(xs.high, p.X)
			for _, v := range []stat.Number{p.Y, p.Low, p.High} {
				if v.Known() && (!c.LogY || v > 0) {
					ys.low, ys.high = min(ys.low, float64(v)), max(ys.high, float64(v))
				}
			}
		}
	}
	ys.high *= 1.08
	if c.LogY {
		ys.low /= 1.15
	} else {
		ys.low = min(0, ys.low)
	}
	return xs, ys
}
