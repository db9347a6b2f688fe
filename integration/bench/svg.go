package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// svg is a drawing that is read on light and on dark pages: it brings its own
// background and follows the reader's colour scheme.
type svg struct {
	body strings.Builder
}

// style has three kinds of series, which differ in shape as well.
const style = `<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.soft { fill: #59636e; font-size: 12px; }
.paper { fill: #ffffff; }
.grid { stroke: #d9dee3; stroke-width: 1; }
.axis { stroke: #818b98; stroke-width: 1; }
.goal { stroke: #1a7f37; stroke-width: 3; }
.s0 { fill: #0969da; stroke: #0969da; }
.s1 { fill: #bc4c00; stroke: #bc4c00; }
.s2 { fill: #6e7781; stroke: #6e7781; }
.line { fill: none !important; stroke-width: 2; }
.bar { stroke: none !important; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.soft { fill: #9da7b1; }
.paper { fill: #0d1117; }
.grid { stroke: #2b323b; }
.axis { stroke: #7d8590; }
.goal { stroke: #3fb950; }
.s0 { fill: #58a6ff; stroke: #58a6ff; }
.s1 { fill: #f0883e; stroke: #f0883e; }
.s2 { fill: #afb8c1; stroke: #afb8c1; }
}
</style>
`

// anchors of texts.
const (
	fromLeft  = "start"
	centred   = "middle"
	fromRight = "end"
)

func (s *svg) text(x, y float64, anchor, class, text string) {
	fmt.Fprintf(&s.body, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`+"\n", x, y, anchor, class, html.EscapeString(text))
}

// upright is text along a vertical axis.
func (s *svg) upright(x, y float64, text string) {
	fmt.Fprintf(&s.body, `<text transform="translate(%.1f %.1f) rotate(-90)" text-anchor="middle" class="soft">%s</text>`+"\n", x, y, html.EscapeString(text))
}

func (s *svg) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&s.body, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`+"\n", x1, y1, x2, y2, class)
}

func (s *svg) box(x, y, width, height float64, class string) {
	fmt.Fprintf(&s.body, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="%s"/>`+"\n", x, y, width, height, class)
}

// path joins points.
func (s *svg) path(points [][2]float64, class string) {
	var d []string
	for i, p := range points {
		d = append(d, fmt.Sprintf("%c%.1f %.1f", "ML"[min(i, 1)], p[0], p[1]))
	}
	fmt.Fprintf(&s.body, `<path d="%s" class="%s"/>`+"\n", strings.Join(d, " "), class)
}

// mark is a point of a series, in its colour and shape.
func (s *svg) mark(x, y float64, series int) {
	class := seriesClass(series)
	switch series {
	case 0:
		fmt.Fprintf(&s.body, `<circle cx="%.1f" cy="%.1f" r="5" class="%s"/>`+"\n", x, y, class)
	case 1:
		s.box(x-4.5, y-4.5, 9, 9, class)
	default:
		fmt.Fprintf(&s.body, `<path d="M%.1f %.1f l6 6 l-6 6 l-6 -6 z" class="%s"/>`+"\n", x, y-6, class)
	}
}

func seriesClass(series int) string { return fmt.Sprintf("s%d", series) }

// legend names the series from left to right.
func (s *svg) legend(x, y float64, names []string) float64 {
	for i, name := range names {
		s.mark(x, y-4, i)
		s.text(x+11, y, fromLeft, "", name)
		x += 40 + 7.2*float64(len(name))
	}
	return x
}

// document is the drawing as a file.
func (s *svg) document(width, height float64, title string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">`+"\n",
		width, height, width, height, html.EscapeString(title)) +
		style + fmt.Sprintf(`<rect width="%.0f" height="%.0f" rx="6" class="paper"/>`+"\n", width, height) + s.body.String() + "</svg>\n"
}

// scale places values between two ends of an axis.
type scale struct {
	low, high   float64 // values
	begin, end  float64 // of the axis in the drawing
	logarithmic bool
}

// logScale holds all values, which are above 0, and ends at round ones.
func logScale(begin, end float64, values []float64) scale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if v > 0 {
			low, high = math.Min(low, v), math.Max(high, v)
		}
	}
	if low > high {
		low, high = 1, 1
	}
	s := scale{low: roundDown(low * 0.95), high: roundUp(high * 1.05), begin: begin, end: end, logarithmic: true}
	return s
}

// linearSteps are between the ticks of a linear axis.
const linearSteps = 5

// linearScale begins at 0.
func linearScale(begin, end, highest float64) scale {
	step := math.Max(highest, 1) * 1.08 / linearSteps
	p := math.Pow(10, math.Floor(math.Log10(step)))
	for _, f := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8, 10} {
		if f*p >= step {
			return scale{high: f * p * linearSteps, begin: begin, end: end}
		}
	}
	return scale{high: step * linearSteps, begin: begin, end: end}
}

func roundDown(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{5, 2, 1} {
		if f*p <= v {
			return f * p
		}
	}
	return p
}

func roundUp(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*p >= v {
			return f * p
		}
	}
	return 10 * p
}

func (s scale) at(v float64) float64 {
	share := (v - s.low) / (s.high - s.low)
	if s.logarithmic {
		share = math.Log(v/s.low) / math.Log(s.high/s.low)
	}
	return s.begin + share*(s.end-s.begin)
}

// ticks are round values: 1, 2, 5, 10, or decades alone where these are many.
func (s scale) ticks() []float64 {
	var ticks []float64
	if !s.logarithmic {
		for i := range linearSteps + 1 {
			ticks = append(ticks, s.high*float64(i)/linearSteps)
		}
		return ticks
	}
	factors := []float64{1, 2, 5}
	if s.high/s.low > 500 {
		factors = factors[:1]
	}
	for p := math.Floor(math.Log10(s.low)); p <= math.Ceil(math.Log10(s.high)); p++ {
		for _, f := range factors {
			if v := f * math.Pow(10, p); v >= s.low*0.999 && v <= s.high*1.001 {
				ticks = append(ticks, v)
			}
		}
	}
	return ticks
}

// number writes a value of an axis.
func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%d,%03d", int(v)/1000, int(v)%1000)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
