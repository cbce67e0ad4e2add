package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/broadcastd/broadcastd/test/harness"
)

// fetch returns the status and the body of an answer.
func fetch(tb testing.TB, method, url string, body io.Reader, header ...string) (int, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, body)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, string(b)
}

var (
	metricName = regexp.MustCompile(`\b(?:broadcastd|process)_[a-z0-9_]+`)
	metricType = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	seriesName = regexp.MustCompile(`(?m)^(broadcastd_[a-z0-9_]+)(?:\{(.*)\})? \S+$`)
	labelValue = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// TestMetrics looks at all metrics of a daemon that takes inputs and has viewers,
// and at the dashboard and the alerts that name them.
func TestMetrics(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Args: []string{"--demo", "--metrics.stream-label", "1"}})
	d.WaitLive(t, "stream/local/demo", 10*time.Second)
	push := d.Push(t, "cam", harness.TestPicture{Duration: 4 * time.Second})
	d.WaitLive(t, "stream/local/cam", 10*time.Second)
	out := filepath.Join(t.TempDir(), "out.mp4")
	rec := command(t, append([]string{"record", "--namespace", "stream/local/demo", "--duration", "2s", "--output", out}, relayURL(t, d, "moqt")...)...)
	if err := rec.Wait(20 * time.Second); err != nil {
		t.Fatalf("record: %v\n%s", err, rec.Log())
	}
	if err := push.Wait(20 * time.Second); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, push.Log())
	}
	_, text := fetch(t, http.MethodGet, "http://"+d.Admin+"/metrics", nil)

	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	if os.Getenv("BROADCASTD_PROMTOOL") != "" {
		tool := exec.Command("../../.ci/promtool", "check", "metrics")
		tool.Stdin = strings.NewReader(text)
		if out, err := tool.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("promtool: %v\n%s", err, out)
		}
		checkExpressions(t)
	}
	checkLabels(t, text)

	kinds := make(map[string]string)
	for _, m := range metricType.FindAllStringSubmatch(text, -1) {
		kinds[m[1]] = m[2]
	}
	for _, file := range []string{"grafana.json", "alerts.yaml"} {
		b, err := os.ReadFile("../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if file == "grafana.json" && !json.Valid(b) {
			t.Errorf("%s is no JSON", file)
		}
		names := metricName.FindAllString(string(b), -1)
		if len(names) < 8 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, name := range names {
			base, isBucket := strings.CutSuffix(name, "_bucket")
			if kind, ok := kinds[base]; !ok || isBucket != (kind == "histogram") {
				t.Errorf("%s has %s, which the daemon has not", file, name)
			}
		}
	}
	for _, want := range []string{
		`broadcastd_sessions{state="live"} `, `broadcastd_sessions_begun_total{protocol="fmp4"} 1`,
		`broadcastd_sessions_ended_total{reason="lost"} 0`, `broadcastd_stream_viewers{stream="demo"} `,
		`broadcastd_stream_received_bytes_total{stream="other"} `, `broadcastd_moqt_egress_first_object_seconds_count `,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}

	// At the public port it takes a key.
	url := "http://" + d.HTTP + "/metrics"
	key, err := os.ReadFile(filepath.Join(d.StateDir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		header []string
		want   int
	}{
		{"without a key", nil, http.StatusUnauthorized},
		{"with a wrong one", []string{"Authorization", "Bearer wrong"}, http.StatusUnauthorized},
		{"as a bearer", []string{"Authorization", "Bearer " + strings.TrimSpace(string(key))}, http.StatusOK},
		{"as X-API-Key", []string{"X-API-Key", strings.TrimSpace(string(key))}, http.StatusOK},
	} {
		if got, body := fetch(t, http.MethodGet, url, nil, tt.header...); got != tt.want || strings.Contains(body, "broadcastd_") != (tt.want == http.StatusOK) {
			t.Errorf("GET /metrics %s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// checkExpressions has promtool read the expressions of the dashboard.
func checkExpressions(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile("../../deploy/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatal(err)
	}
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
			rules = append(rules, rule{fmt.Sprintf("board:%d", len(rules)), expr})
		}
	}
	file, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "board", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "board.yaml") // JSON is YAML
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("../../.ci/promtool", "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// checkLabels checks that labels have few values, and none of them comes from
// whoever connects, but for the label that was asked for.
func checkLabels(t *testing.T, text string) {
	t.Helper()
	series := make(map[string]int)
	closed := []string{"kind", "outcome", "code", "protocol", "reason", "state", "result", "class", "le", "stream"}
	for _, m := range seriesName.FindAllStringSubmatch(text, -1) {
		series[m[1]]++
		for _, l := range labelValue.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(closed, l[1]) {
				t.Errorf("%s has the label %s, which no list of closed sets knows", m[1], l[1])
			}
			if strings.Contains(l[2], "127.0.0.1") || (l[1] != "stream" && strings.Contains(l[2], "cam")) {
				t.Errorf("%s has %s=%q, which a peer chose", m[1], l[1], l[2])
			}
		}
	}
	for name, n := range series {
		if n > 100 {
			t.Errorf("%s has %d series", name, n)
		}
	}
	if len(series) < 30 {
		t.Errorf("only %d metrics", len(series))
	}
}
