package bench

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// byArm sorts results by their arm, in the order in which arms come.
func byArm(runs []Result) (names []string, of map[string][]Result) {
	of = make(map[string][]Result)
	for _, r := range runs {
		if of[r.Arm] == nil {
			names = append(names, r.Arm)
		}
		of[r.Arm] = append(of[r.Arm], r)
	}
	return names, of
}

// delayChart draws which share of the objects came within which delay.
func delayChart(_ Lookup, runs []Result) report.Chart {
	c := report.Chart{Title: "Objects that came within …", X: "delay, ms", Y: "%", LogX: true}
	names, of := byArm(runs)
	for _, name := range names {
		sum := new(stat.Histogram)
		var expected int64
		for _, r := range of[name] {
			sum.Merge(r.Viewing.All())
			expected += r.Viewing.Expected
		}
		if sum.Count() == 0 {
			continue
		}
		line := report.Line{Name: name}
		for _, q := range []float64{0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999} {
			d := sum.Quantile(q, expected)
			if d == stat.Lost {
				break
			}
			x := max(d.Seconds()*1000, 0.05)
			line.Points = append(line.Points, report.Point{X: x, Y: stat.Number(100 * q), Low: stat.NaN, High: stat.NaN})
		}
		c.Lines = append(c.Lines, line)
	}
	return c
}

// growthChart draws the delay of each track as a run goes on.
func growthChart(_ Lookup, runs []Result) report.Chart {
	c := report.Chart{Title: "Delay p99 of what came, as the run goes on", X: "s", Y: "ms", LogY: true}
	names, of := byArm(runs)
	for _, name := range names {
		for _, track := range []string{"audio", "video"} {
			line := report.Line{Name: name + ", " + track}
			for k := range load.Slices {
				var values []stat.Number
				for _, r := range of[name] {
					if t, ok := r.Viewing.Track(track); ok {
						values = append(values, t.Delivered(0.99, k))
					}
				}
				s := stat.Of(values)
				line.Points = append(line.Points, report.Point{X: math.Round(of[name][0].Seconds * float64(k+1) / load.Slices), Y: s.Median, Low: s.Low, High: s.High})
			}
			if slices.ContainsFunc(line.Points, func(p report.Point) bool { return p.Y.Known() }) {
				c.Lines = append(c.Lines, line)
			}
		}
	}
	return c
}

// perN makes a line for each party of a figure over the number of viewers.
func perN(runs []Result, key string) []report.Line {
	f := figuresNamed([]string{key})[0]
	var lines []report.Line
	names, of := byArm(runs)
	for _, name := range names {
		party, n, ok := partyAtN(name)
		// What a figure takes as the length of a run counts where something was lost.
		s := series(f, Arm{Viewers: n, Duration: time.Duration(of[name][0].Seconds * float64(time.Second))}, of[name])
		if !ok || !s.Median.Known() {
			continue
		}
		i := slices.IndexFunc(lines, func(line report.Line) bool { return line.Name == party })
		if i < 0 {
			i = len(lines)
			lines = append(lines, report.Line{Name: party})
		}
		lines[i].Points = append(lines[i].Points, report.Point{X: float64(n), Y: s.Median, Low: s.Low, High: s.High})
	}
	for _, line := range lines {
		slices.SortFunc(line.Points, func(a, b report.Point) int { return int(a.X - b.X) })
	}
	return slices.DeleteFunc(lines, func(line report.Line) bool { return len(line.Points) < 2 })
}

// partyAtN takes the name of an arm of a scale apart.
func partyAtN(name string) (party string, n int, ok bool) {
	party, text, ok := strings.Cut(name, " n=")
	n, err := strconv.Atoi(text)
	return party, n, ok && err == nil
}

func scaleDelayChart(_ Lookup, runs []Result) report.Chart {
	return report.Chart{Title: "Delay p99 by the number of viewers", X: "viewers", Y: "ms", LogY: true, Limit: maxDelay, Lines: perN(runs, delayP99)}
}

func scaleCPUChart(_ Lookup, runs []Result) report.Chart {
	return report.Chart{Title: "Server CPU per viewer, by their number", X: "viewers", Y: "mcore", LogX: true, LogY: true, Lines: perN(runs, mcorePerView)}
}

func scaleCostChart(_ Lookup, runs []Result) report.Chart {
	return report.Chart{Title: "Server CPU per GB sent, by the number of viewers", X: "viewers", Y: "s", LogX: true, LogY: true, Lines: perN(runs, cpuPerGB)}
}

// only has a chart draw the arms that keep wants, under a title of its own.
func only(c Chart, title string, keep func(arm string) bool) Chart {
	return func(l Lookup, runs []Result) report.Chart {
		drawn := c(l, slices.DeleteFunc(slices.Clone(runs), func(r Result) bool { return !keep(r.Arm) }))
		drawn.Title = title
		return drawn
	}
}
