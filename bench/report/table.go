package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/broadcastd/broadcastd/bench/stat"
)

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n%s; load average %.1f before, %.1f after\n", r.Scenario, r.About, r.Machine, r.Load[0], r.Load[1])
	for _, t := range r.Tables {
		t.write(&b)
	}
	if len(r.Goals) > 0 {
		b.WriteString("\n")
		writeGoals(&b, r.Goals)
	}
	if n := r.legend(); n != "" {
		b.WriteString("\n" + n + "\n")
	}
	for _, n := range r.Notes {
		b.WriteString(n + "\n")
	}
	_, err := io.WriteString(w, trimLines(b.String()))
	return err
}

// legend explains the brackets, if there are any.
func (r *Report) legend() string {
	least, most := 0, 0
	for _, t := range r.Tables {
		most = max(most, t.Rounds)
		if t.Rounds > 1 && (least == 0 || t.Rounds < least) {
			least = t.Rounds
		}
	}
	if most < 2 {
		return ""
	}
	return intervalText(least, most) + " Ratios are taken pair by pair."
}

func intervalText(least, most int) string {
	coverage := func(n int) float64 { return 100 * stat.Of(make([]stat.Number, n)).Coverage }
	switch {
	case least >= 6:
		return "Medians, and in brackets their 95 % intervals from order statistics."
	case least == most:
		return fmt.Sprintf("Medians of %d runs, and in brackets the least and the most, which hold the true median with %.0f %%.", least, coverage(least))
	}
	return fmt.Sprintf("Medians of %d to %d runs; in brackets 95 %% intervals from order statistics where there are 6 or more, else the least and the most (%.0f %% for %d runs).",
		least, most, coverage(least), least)
}

func (t Table) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s", t.Title)
	if t.Rounds > 1 {
		fmt.Fprintf(b, ", %d rounds", t.Rounds)
	}
	b.WriteString("\n\n")
	described := false
	for _, a := range t.Arms {
		if a.About != "" {
			fmt.Fprintf(b, "  %s: %s\n", a.Name, a.About)
			described = true
		}
	}
	if described {
		b.WriteString("\n")
	}
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	for _, row := range t.Cells() {
		fmt.Fprintf(w, "  %s\n", strings.Join(row, "\t"))
	}
	_ = w.Flush() // into memory
	if len(t.Ratios) == 0 {
		return
	}
	b.WriteString("\n")
	w = tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	for _, q := range t.Ratios {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", q.Label(), q.Name, q.Text())
	}
	_ = w.Flush()
}

// Text shows the comparison.
func (r Ratio) Text() string {
	s := SpreadText(r.Spread, 2)
	if r.Minus && r.Unit != "" {
		s += " " + r.Unit
	}
	return s
}

// Cells returns the table as text, its headings first.
func (t Table) Cells() [][]string {
	heading := func(f Figure) string {
		if f.Unit != "" {
			return f.Name + ", " + f.Unit
		}
		return f.Name
	}
	var rows [][]string
	head := []string{""}
	if t.Tall {
		for _, f := range t.Figures {
			head = append(head, heading(f))
		}
		rows = append(rows, head)
		for i, a := range t.Arms {
			row := []string{a.Name}
			for _, f := range t.Figures {
				row = append(row, SpreadText(f.Arms[i].Spread, f.Digits))
			}
			rows = append(rows, row)
		}
		return rows
	}
	for _, a := range t.Arms {
		head = append(head, a.Name)
	}
	rows = append(rows, head)
	for _, f := range t.Figures {
		row := []string{heading(f)}
		for i := range t.Arms {
			row = append(row, SpreadText(f.Arms[i].Spread, f.Digits))
		}
		rows = append(rows, row)
	}
	return rows
}

func writeGoals(b *strings.Builder, goals []Goal) {
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "  what\tmeasured\tmust\taim\tverdict")
	for _, g := range goals {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", g.What, g.Measured, g.Must, g.Aim, g.Verdict)
	}
	_ = w.Flush()
}

// trimLines takes off the blanks at the ends of lines.
func trimLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}
