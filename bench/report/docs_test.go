package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/internal/golden"
)

const docsPage = "# Performance\n\nBefore.\n\n" + DocsBegin + "\nold\n" + DocsEnd + "\n\nAfter.\n"

// TestDocs shows what the page becomes: a second report has the row that the first
// one lacks, and a chart of the same title.
func TestDocs(t *testing.T) {
	first, second := sample(1), sample(1)
	second.Command, second.Notes = "broadcastd bench reach --rows peer", nil
	second.Goals = []Goal{{"peer", "≤ 0.70", "≤ 0.60", "0.61 | 0.62", Must}, {"R", "≤ 1.25", "≤ 1.15", "–", Unknown}}
	text, files, err := Docs(docsPage, "performance", []*Report{first, second})
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "docs.md", []byte(text))
	drawn := 0
	for _, c := range first.Charts {
		if c.Draw() != "" {
			drawn++
		}
	}
	if len(files) != drawn || drawn == 0 {
		t.Errorf("%d files, want one for each of %d charts with lines", len(files), drawn)
	}
	for name, svg := range files {
		if !strings.Contains(text, "(performance/"+name+")") {
			t.Errorf("the page does not show %s", name)
		}
		for dec := xml.NewDecoder(bytes.NewReader(svg)); ; {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if len(svg) > 20_000 {
			t.Errorf("%s has %d bytes, want a small file", name, len(svg))
		}
		golden.Check(t, name, svg)
	}
	again, _, err := Docs(text, "performance", []*Report{first, second})
	if err != nil || again != text {
		t.Errorf("a second time gives another page, or %v", err)
	}
}

func TestDocsFaults(t *testing.T) {
	for _, tt := range []struct {
		name, page string
		reports    []*Report
		want       string
	}{
		{"no mark", "# Performance\n", []*Report{sample(1)}, "lacks the lines"},
		{"one mark", DocsBegin, []*Report{sample(1)}, "lacks the lines"},
		{"no goals", docsPage, []*Report{{Schema: Schema}}, "no goals"},
	} {
		if _, _, err := Docs(tt.page, "x", tt.reports); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want a mention of %q", tt.name, err, tt.want)
		}
	}
}
