package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/test/harness"
)

// rest calls the sessions contract over net/http, and returns the status and the
// JSON object that it is answered with.
func (s sdk) rest(method, path string, body any) (int, object) {
	s.t.Helper()
	var in bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&in).Encode(body); err != nil {
			s.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.base+"/api/v1"+path, &in)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-API-Key", s.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var out object
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		s.t.Fatalf("%s %s: %s: %v", method, path, res.Status, err)
	}
	return res.StatusCode, out
}

// TestContractCurl runs the curl commands of the contract's documentation as they
// stand: host and key are replaced, nothing else.
func TestContractCurl(t *testing.T) {
	t.Parallel()
	curl := harness.Tool(t, "curl")
	file, err := os.ReadFile(filepath.Join("testdata", "curl-sessions.txt"))
	if err != nil {
		t.Fatal(err)
	}
	commands := strings.Split(strings.TrimSpace(string(file)), "\n\n")
	if len(commands) != 5 {
		t.Fatalf("%d commands, want 5", len(commands))
	}
	d, s := startContract(t, "org_abc")
	run := func(command string) (status, kind, body string) {
		t.Helper()
		was := command
		command = strings.ReplaceAll(command, "https://api.wave.online", "http://"+d.HTTP)
		command = strings.NewReplacer("YOUR_API_KEY", s.key, "YOUR_PROMETHEUS_API_KEY", s.key).Replace(command)
		if !strings.HasPrefix(was, "curl ") || command == was {
			t.Fatalf("nothing to replace in %q", was)
		}
		command = curl + strings.TrimPrefix(command, "curl") + ` -sS -w '\n%{http_code} %{content_type}'`
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", was, err, out)
		}
		i := bytes.LastIndexByte(out, '\n')
		status, kind, _ = strings.Cut(string(out[i+1:]), " ")
		return status, kind, string(out[:i])
	}
	const id = "sess_1234_abc123" // of the commands
	get, patch, remove, export, ice := commands[0], commands[1], commands[2], commands[3], commands[4]
	for _, command := range []string{get, patch, remove, ice} {
		if status, kind, body := run(command); status != "404" || kind != "application/problem+json" || !strings.Contains(body, id) {
			t.Errorf("%.70s before there is one: %s %s %s", command, status, kind, body)
		}
	}
	if status, made := s.rest("POST", "/streaming/sessions", object{"sessionId": id, "protocol": "webrtc"}); status != 201 || made["sessionId"] != id {
		t.Fatalf("POST: %d %v", status, made)
	}
	for _, tt := range []struct {
		command, status string
		want            []string // of the answer
	}{
		{get, "200", []string{`"sessionId":"` + id + `"`, `"protocol":"webrtc"`, `"status":"idle"`}},
		{patch, "200", []string{`"status":"live"`, `"quality":{"targetLatency":200,"maxBitrate":8000,"adaptiveBitrate":true}`, `"updatedAt":"2`}},
		{get, "200", []string{`"status":"live"`, `"startedAt":"2`, `"maxBitrate":8000`}},
		{remove, "409", []string{"set its status to ended first"}},
		{ice, "200", []string{`"candidates":[]`, `"isComplete":true`, `"hasMore":false`, `"statistics":{`}},
		{export, "200", []string{"# TYPE broadcastd_streaming_streams gauge"}},
	} {
		status, kind, body := run(tt.command)
		if status != tt.status {
			t.Errorf("%.70s: %s %s, want %s", tt.command, status, body, tt.status)
		}
		if want := map[bool]string{true: "text/plain; version=0.0.4; charset=utf-8", false: "application/"}[tt.command == export]; !strings.HasPrefix(kind, want) {
			t.Errorf("%.70s: %s, want %s", tt.command, kind, want)
		}
		for _, want := range tt.want {
			if !strings.Contains(body, want) {
				t.Errorf("%.70s: %s, want %s in it", tt.command, body, want)
			}
		}
	}
	if status, _ := s.rest("PATCH", "/streaming/sessions/"+id, object{"status": "ended"}); status != 200 {
		t.Errorf("PATCH to ended: %d", status)
	}
	if status, _, body := run(remove); status != "200" || !strings.Contains(body, `"deletedAt":"2`) {
		t.Errorf("DELETE: %s %s", status, body)
	}
	if status, gone := s.rest("GET", "/streaming/sessions/"+id, nil); status != 404 || fmt.Sprint(gone["status"]) != "404" {
		t.Errorf("GET after DELETE: %d %v", status, gone)
	}
}
