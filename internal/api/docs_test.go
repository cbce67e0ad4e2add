package api

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/internal/control/controltest"
)

// The commands of docs/api.md do what it says.
func TestExamples(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("BROADCASTD_TEST_TOOLS") == "required" {
			t.Fatal(err)
		}
		t.Skip("there is no curl")
	}
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 6 {
		t.Fatalf("%d blocks of commands, which cannot be all", len(blocks))
	}
	ts := newTester(t)
	in, _ := ts.input("local", "cam")
	srv := httptest.NewServer(ts)
	defer srv.Close()
	for _, b := range blocks[1:] { // the first sets URL and KEY
		// --json came with curl 7.82; spelt out, older ones do the same.
		script := strings.ReplaceAll(b[1], "--json", "-H 'Content-Type: application/json' --data-raw")
		script = strings.ReplaceAll(script, "curl ", "curl --fail-with-body --noproxy '*' ")
		cmd := exec.Command("sh", "-eu", "-c", script)
		cmd.Env = append(os.Environ(), "URL="+srv.URL+Base, "KEY="+controltest.AdminKey, "INPUT="+in.External)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v of\n%s\n%s", err, script, out)
		}
	}
}
