package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"dots":  Dots,
	"class": func(v Verdict) string { return strings.ReplaceAll(string(v), " ", "-") },
	"drawn": drawn,
	"time":  func(r *Report) string { return r.Began.UTC().Format("2 January 2006, 15:04 UTC") },
	"took":  func(r *Report) string { return fmt.Sprintf("%.0f s", r.Took) },
	"load":  func(v float64) string { return fmt.Sprintf("%.1f", v) },
	"colours": func() (list []int) {
		for i := range lineColours {
			list = append(list, i)
		}
		return list
	},
	"mod":    func(i int) int { return i % lineColours },
	"legend": (*Report).legend,
}).Parse(pageText))

// WriteHTML writes the report as one HTML file that needs no other.
func (r *Report) WriteHTML(w io.Writer) error { return page.Execute(w, r) }

// drawn are the figures of a table that are worth a drawing: those with a way to
// go, where there is something to compare.
func drawn(t Table) []Figure {
	if len(t.Arms) < 2 && t.Rounds < 2 || t.Tall {
		return nil
	}
	var list []Figure
	for _, f := range t.Figures {
		if f.Better == Lower && Dots(t, f) != "" {
			list = append(list, f)
		}
	}
	return list
}
