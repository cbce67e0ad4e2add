package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	var names []string
	for _, p := range r.Parties {
		names = append(names, string(p))
	}
	fmt.Fprintf(&b, "%s: %d viewers, profile %s, %v s after %v s of warm-up", strings.Join(names, " against "),
		r.Viewers, r.Profile, r.Duration, r.Warmup)
	switch n := len(r.Runs); {
	case len(r.Parties) == 2:
		fmt.Fprintf(&b, ", %d interleaved %s", n, plural(n, "pair"))
	case n > 1:
		fmt.Fprintf(&b, ", %d runs", n)
	}
	fmt.Fprintf(&b, "\n%s\n\n", r.Machine)
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "\t%s", strings.Join(names, "\t"))
	if len(r.Parties) == 2 {
		fmt.Fprint(t, "\tratio")
	}
	fmt.Fprintln(t)
	for _, row := range r.Rows {
		name := row.Name
		if row.Unit != "" {
			name += ", " + row.Unit
		}
		fmt.Fprint(t, name)
		for _, s := range row.Spread {
			fmt.Fprint(t, "\t", s.text(row.digits))
		}
		if row.Ratio != nil {
			fmt.Fprint(t, "\t", row.Ratio.text(2))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Runs) > 1 {
		b.WriteString("\nMedian (least to most)")
		if len(r.Parties) == 2 {
			b.WriteString("; ratios are taken pair by pair")
		}
		b.WriteString(".\n")
	}
	_, err := io.WriteString(w, trimLines(b.String()))
	return err
}

// trimLines takes off the blanks at the ends of lines.
func trimLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

func (m Machine) String() string {
	text := m.OS
	if m.Kernel != "" {
		text += " " + m.Kernel
	}
	if m.CPU != "" {
		text += ", " + m.CPU
	}
	return fmt.Sprintf("%s, %d %s, %s", text, m.CPUs, plural(m.CPUs, "CPU"), m.Go)
}

func plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}

// text shows s with so many digits behind the point.
func (s Spread) text(digits int) string {
	median, least, most := text(float64(s.Median), digits), text(float64(s.Min), digits), text(float64(s.Max), digits)
	if least == most {
		return median
	}
	return fmt.Sprintf("%s (%s–%s)", median, least, most)
}

// text shows a figure; one that was never reached is lost.
func text(v float64, digits int) string {
	switch {
	case math.IsInf(v, 0):
		return "lost"
	case math.IsNaN(v):
		return "–"
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
