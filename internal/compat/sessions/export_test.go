package sessions_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/golden"
)

// TestExport compares the Prometheus export with the golden file, and with what
// promtool asks of metrics.
func TestExport(t *testing.T) {
	s := newServer(t)
	lv := s.input("org_abc")
	in, err := s.control.Input(t.Context(), lv)
	if err != nil {
		t.Fatal(err)
	}
	s.feed(s.run("org_abc/"+lv, auth.WHIP), "whip")
	s.feed(s.run("cam", auth.FMP4), "fmp4")
	s.meter.states[1].Paused, s.meter.states[1].Audio = true, nil
	read := func(query string) string {
		t.Helper()
		status, kind, text := s.send("GET", "analytics/prometheus"+query, "")
		if status != 200 || kind != "text/plain; version=0.0.4; charset=utf-8" {
			t.Fatalf("%s: %d %q %s", query, status, kind, text)
		}
		return text
	}
	all := read("")
	golden.Check(t, "export.txt", []byte(strings.ReplaceAll(all, lv, "lv_…")))
	if faults, err := promlint.New(strings.NewReader(all)).Lint(); err != nil || len(faults) > 0 {
		t.Errorf("promlint: %v, %v", faults, err)
	}
	if read("?period=5min") != all {
		t.Error("five minutes are not the default")
	}
	// Rates follow the period, counters do not.
	hour := read("?period=1hour")
	for _, tt := range []struct {
		name    string
		differs bool
	}{{"bandwidth_bytes_per_second", true}, {"received_bytes_total", false}, {"latency_seconds_count", false}} {
		if a, b := lines(all, tt.name), lines(hour, tt.name); (a != b) != tt.differs || a == "" {
			t.Errorf("%s over 5 min and over an hour:\n%s%s", tt.name, a, b)
		}
	}
	for query, want := range map[string]string{
		"?streamId=" + lv: lv, "?streamId=" + in.ID: lv, "?streamId=cam": "cam", "?streamId=" + s.meter.states[1].ID: "cam", "?streamId=nothing": "",
	} {
		got := lines(read(query), "viewers{")
		if strings.Count(got, "\n") > 1 || want != "" && !strings.Contains(got, `stream="`+want+`"`) || want == "" && got != "" {
			t.Errorf("%s: %q, want the row of %q alone", query, got, want)
		}
	}
	s.object("GET", "analytics/prometheus?period=2min", "", 400)
	s.object("GET", "analytics/prometheus?streamId=li_none", "", 404)
	s.key = s.apiKey("org_abc", "metrics:read")
	if got := lines(read(""), "viewers{"); !strings.Contains(got, lv) || strings.Contains(got, "cam") {
		t.Errorf("a key of org_abc sees %q", got)
	}
}

// lines returns the samples of one metric.
func lines(text, name string) (out string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "broadcastd_streaming_"+name) {
			out += line
		}
	}
	return out
}
