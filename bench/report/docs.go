package report

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The lines of a Markdown page between which Docs writes.
const (
	DocsBegin = "<!-- bench: begin -->"
	DocsEnd   = "<!-- bench: end -->"
)

// Docs returns page with the goals and the charts of reports between DocsBegin
// and DocsEnd, and the charts as SVG files by name, to which the page refers in
// dir. Of goals and charts in several reports, those of the last count.
func Docs(page, dir string, reports []*Report) (text string, files map[string][]byte, err error) {
	before, rest, ok := strings.Cut(page, DocsBegin)
	_, after, ended := strings.Cut(rest, DocsEnd)
	if !ok || !ended {
		return "", nil, fmt.Errorf("report: the page lacks the lines %s and %s", DocsBegin, DocsEnd)
	}
	goals, charts := joined(reports)
	if len(goals) == 0 {
		return "", nil, errors.New("report: there are no goals: this is not what bench reach measured")
	}
	var b strings.Builder
	b.WriteString(before + DocsBegin + "\n")
	b.WriteString("| what | must | aim | measured | |\n|---|---|---|---|---|\n")
	for _, g := range goals {
		verdict := string(g.Verdict)
		switch g.Verdict {
		case Missed:
			verdict = "**missed**"
		case Must:
			verdict = "as it must"
		case Aim:
			verdict = "as aimed"
		case Unknown:
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join([]string{cell(g.What), cell(g.Must), cell(g.Aim), cell(g.Measured), verdict}, " | "))
	}
	b.WriteString("\n")
	for _, r := range reports {
		fmt.Fprintf(&b, "`%s`: %s, %s, %.0f minutes; %s; load average %.1f before, %.1f after, the benchmark's own included.", r.Command,
			r.Version, r.Began.UTC().Format("2 January 2006"), math.Ceil(r.Took/60), r.Machine, r.Load[0], r.Load[1])
		if l := r.legend(); l != "" {
			b.WriteString(" " + l)
		}
		for _, n := range r.Notes {
			b.WriteString(" " + strings.TrimSuffix(n, ".") + ".")
		}
		b.WriteString("\n\n")
	}
	files = make(map[string][]byte)
	for _, c := range charts {
		svg := c.SVG()
		if svg == nil {
			continue
		}
		name := fileName(c.Title) + ".svg"
		files[name] = svg
		fmt.Fprintf(&b, "![%s](%s/%s)\n", c.Title, dir, name)
	}
	b.WriteString(DocsEnd + after)
	return b.String(), files, nil
}

// cell keeps text within a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}

// joined returns the goals and the charts of all reports.
func joined(reports []*Report) (goals []Goal, charts []Chart) {
	for _, r := range reports {
		for _, g := range r.Goals {
			i := slices.IndexFunc(goals, func(o Goal) bool { return o.What == g.What })
			switch {
			case i < 0:
				goals = append(goals, g)
			case g.Verdict != Unknown:
				goals[i] = g
			}
		}
		for _, c := range r.Charts {
			if i := slices.IndexFunc(charts, func(o Chart) bool { return o.Title == c.Title }); i >= 0 {
				charts[i] = c
			} else {
				charts = append(charts, c)
			}
		}
	}
	return goals, charts
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// fileName makes a title fit for a file.
func fileName(title string) string {
	return strings.Trim(notName.ReplaceAllString(strings.ToLower(title), "-"), "-")
}

// svgStyle is that of a chart that stands alone, on light and on dark pages.
const svgStyle = `<style>
svg { --bg: #fff; --fg: #1a1d21; --soft: #5c6570; --rule: #dfe3e8; --bad: #b42318;
  --c0: #2563eb; --c1: #d9480f; --c2: #0f8a6a; --c3: #8b3fc7; --c4: #b8860b; --c5: #5c6570; }
@media (prefers-color-scheme: dark) { svg { --bg: #14171a; --fg: #e6e9ed; --soft: #9aa4af; --rule: #31373e; --bad: #ff7b6b;
  --c0: #6ea0ff; --c1: #ff8a5c; --c2: #3fc9a3; --c3: #c28bf0; --c4: #e0b040; --c5: #9aa4af; } }
text { fill: var(--soft); font: 12px system-ui, sans-serif; } .title { fill: var(--fg); font-weight: 600; font-size: 14px; }
.mid { text-anchor: middle; } .end { text-anchor: end; } .page { fill: var(--bg); }
.grid { stroke: var(--rule); } .axis { stroke: var(--soft); } .limit { stroke: var(--bad); stroke-dasharray: 5 4; }
.line { fill: none; stroke-width: 2; } .dot { opacity: .8; } .whisker { opacity: .6; stroke-width: 1.5; }
`

// The head of a chart that stands alone, in px.
const (
	titleHeight = 30
	keyHeight   = 18
	keyDash     = 14
	keyChar     = 7 // about the width of a character
)

// SVG draws the lines of c with their title and names, as a file of its own; nil
// if there are none.
func (c Chart) SVG() []byte {
	var lines drawing
	if !c.draw(&lines) {
		return nil
	}
	var head drawing
	title := c.Title
	if c.Y != "" {
		title += ", " + c.Y
	}
	head.text(marginLeft, titleHeight-10, "title", title)
	x, y := float64(marginLeft), float64(titleHeight+keyHeight/2)
	for i, l := range c.Lines {
		width := float64(keyDash + 6 + keyChar*len([]rune(l.Name)) + 12)
		if x+width > chartWidth && x > marginLeft {
			x, y = marginLeft, y+keyHeight
		}
		head.line(x, y-4, x+keyDash, y-4, "line c"+strconv.Itoa(i%lineColours))
		head.text(x+keyDash+6, y, "key", l.Name)
		x += width
	}
	top := y + keyHeight/2
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%d" role="img" aria-label="%s">`+"\n",
		chartWidth, top+chartHeight, chartWidth, html.EscapeString(c.Title))
	b.WriteString(svgStyle)
	for i := range lineColours {
		fmt.Fprintf(&b, ".c%d { stroke: var(--c%d); } .dot.c%d { fill: var(--c%d); stroke: none; }\n", i, i, i, i)
	}
	fmt.Fprintf(&b, "</style>\n<rect class=\"page\" width=\"%d\" height=\"%.0f\"/>\n%s<g transform=\"translate(0 %.0f)\">\n%s</g>\n</svg>\n",
		chartWidth, top+chartHeight, head.b.String(), top, lines.b.String())
	return b.Bytes()
}
