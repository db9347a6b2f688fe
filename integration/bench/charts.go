package main

import "math"

// Sizes of all charts.
const (
	chartWidth = 860.
	chartTop   = 78. // title, legend
	rowHeight  = 46.
	labelWidth = 200.
	margin     = 24.
)

// spread is a value with what it reaches to.
type spread struct {
	value, low, high float64
}

// dotRow has a value of each series, NaN where there is none.
type dotRow struct {
	label  string
	values []spread
	goal   float64 // 0: none
}

// dotChart shows values on a logarithmic axis, a row for each thing measured.
type dotChart struct {
	title, unit string
	series      []string
	rows        []dotRow
	one         bool   // a line at 1
	goal        string // what the goals are called
}

func (c dotChart) draw() string {
	var s svg
	var all []float64
	for _, r := range c.rows {
		for _, v := range r.values {
			all = append(all, v.value, v.low, v.high)
		}
		all = append(all, r.goal)
	}
	if c.one {
		all = append(all, 1)
	}
	bottom := chartTop + rowHeight*float64(len(c.rows))
	x := logScale(labelWidth, chartWidth-margin-20, all)
	s.text(margin, 28, fromLeft, "title", c.title)
	after := s.legend(margin+6, 54, c.series)
	if c.goal != "" {
		s.line(after, 42, after, 58, "goal")
		s.text(after+11, 54, fromLeft, "", c.goal)
	}
	for _, v := range x.ticks() {
		s.line(x.at(v), chartTop, x.at(v), bottom, "grid")
		s.text(x.at(v), bottom+18, centred, "soft", number(v))
	}
	if c.one {
		s.line(x.at(1), chartTop, x.at(1), bottom, "axis")
	}
	s.text((x.begin+x.end)/2, bottom+38, centred, "soft", c.unit)
	for i, r := range c.rows {
		middle := chartTop + rowHeight*(float64(i)+0.5)
		s.text(labelWidth-14, middle+4, fromRight, "", r.label)
		if r.goal > 0 {
			s.line(x.at(r.goal), middle-14, x.at(r.goal), middle+14, "goal")
		}
		for j, v := range r.values {
			if math.IsNaN(v.value) {
				continue
			}
			y := middle + 13*(float64(j)-float64(len(r.values)-1)/2)
			s.line(x.at(v.low), y, x.at(v.high), y, seriesClass(j)+" line")
			for _, end := range []float64{v.low, v.high} {
				s.line(x.at(end), y-4, x.at(end), y+4, seriesClass(j)+" line")
			}
			s.mark(x.at(v.value), y, j)
		}
		s.line(labelWidth, middle+rowHeight/2, x.end, middle+rowHeight/2, "grid")
	}
	return s.document(chartWidth, bottom+52, c.title)
}

// lineChart shows how values grow, both axes logarithmic.
type lineChart struct {
	title, xUnit, yUnit string
	series              []string
	x                   []float64
	y                   [][]spread // by series
}

func (c lineChart) draw() string {
	const height = 380.
	var s svg
	var all []float64
	for _, line := range c.y {
		for _, v := range line {
			all = append(all, v.value, v.low, v.high)
		}
	}
	bottom := height - 60
	x := logScale(margin+60, chartWidth-margin-20, c.x)
	y := logScale(bottom, chartTop, all)
	s.text(margin, 28, fromLeft, "title", c.title)
	s.legend(margin+6, 54, c.series)
	for _, v := range y.ticks() {
		s.line(x.begin, y.at(v), x.end, y.at(v), "grid")
		s.text(x.begin-8, y.at(v)+4, fromRight, "soft", number(v))
	}
	for _, v := range c.x {
		s.line(x.at(v), bottom, x.at(v), bottom+5, "axis")
		s.text(x.at(v), bottom+20, centred, "soft", number(v))
	}
	s.line(x.begin, bottom, x.end, bottom, "axis")
	s.line(x.begin, chartTop, x.begin, bottom, "axis")
	s.text((x.begin+x.end)/2, bottom+42, centred, "soft", c.xUnit)
	s.upright(margin, (bottom+chartTop)/2, c.yUnit)
	for i, line := range c.y {
		class := seriesClass(i) + " line"
		var points [][2]float64
		for j, v := range line {
			if math.IsNaN(v.value) {
				continue
			}
			at := x.at(c.x[j])
			points = append(points, [2]float64{at, y.at(v.value)})
			s.line(at, y.at(v.low), at, y.at(v.high), class)
			s.line(at-4, y.at(v.high), at+4, y.at(v.high), class)
			s.mark(at, y.at(v.value), i)
		}
		s.path(points, class)
	}
	return s.document(chartWidth, height, c.title)
}

// barChart shows amounts, groups of a bar for each series.
type barChart struct {
	title, xUnit, yUnit string
	series              []string
	groups              []string
	values              [][]float64 // by group and series
}

func (c barChart) draw() string {
	const height, barWidth = 380., 34.
	var s svg
	highest := 0.
	for _, group := range c.values {
		for _, v := range group {
			highest = math.Max(highest, v) // NaN, where there is none, would be taken
		}
	}
	bottom := height - 60
	y := linearScale(bottom, chartTop, highest)
	left, right := margin+60, chartWidth-margin-20
	s.text(margin, 28, fromLeft, "title", c.title)
	s.legend(margin+6, 54, c.series)
	for _, v := range y.ticks() {
		s.line(left, y.at(v), right, y.at(v), "grid")
		s.text(left-8, y.at(v)+4, fromRight, "soft", number(v))
	}
	s.line(left, bottom, right, bottom, "axis")
	s.text((left+right)/2, bottom+42, centred, "soft", c.xUnit)
	s.upright(margin, (bottom+chartTop)/2, c.yUnit)
	step := (right - left) / float64(len(c.groups))
	for i, group := range c.values {
		middle := left + step*(float64(i)+0.5)
		s.text(middle, bottom+20, centred, "soft", c.groups[i])
		for j, v := range group {
			x := middle + (barWidth+4)*(float64(j)-float64(len(group))/2)
			s.box(x, y.at(v), barWidth, bottom-y.at(v), seriesClass(j)+" bar")
			s.text(x+barWidth/2, y.at(v)-5, centred, "soft", number(v))
		}
	}
	return s.document(chartWidth, height, c.title)
}
