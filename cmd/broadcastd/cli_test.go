package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/internal/api"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/golden"
)

// A cli runs commands on a state directory, and keeps a transcript of what people
// see, with what differs from run to run replaced.
type cli struct {
	t     *testing.T
	dir   string // of the test, which run leaves
	env   []string
	log   strings.Builder
	names map[string]string // by what they stand for
}

var (
	idForm   = regexp.MustCompile(`\b(li|lv|ak|k|sess)_[0-9a-z_]+|\b[0-9a-z]{16}\b`)
	keyForm  = regexp.MustCompile(`\b(sk_live|tqs_live)_[0-9a-z_]+|\b[0-9a-z]{32,}\b`)
	jwtForm  = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)
	timeForm = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	spanForm = regexp.MustCompile(`"duration": [\d.]+|duration +[\d.]+ s`)
	gapForm  = regexp.MustCompile(`  +`)
	pemForm  = regexp.MustCompile(`-----BEGIN PUBLIC KEY-----[^"]*`)
)

func newCLI(t *testing.T, env ...string) *cli {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return &cli{t: t, dir: dir, env: append(env, "BROADCASTD_STATE_DIR="+t.TempDir()), names: map[string]string{}}
}

// run runs a command and returns what it prints.
func (c *cli) run(want int, args ...string) string {
	c.t.Helper()
	code, out, errs := run(c.t, c.env, args...)
	if code != want {
		c.t.Errorf("%q: exit code %d, want %d\n%s%s", args, code, want, out, errs)
	}
	fmt.Fprintf(&c.log, "$ broadcastd %s\n%s%s", strings.Join(args, " "), out, errs)
	if code != 0 {
		fmt.Fprintf(&c.log, "exit code %d\n", code)
	}
	return strings.TrimSpace(out)
}

// field returns a field of the JSON that a command prints.
func (c *cli) field(name string, args ...string) string {
	c.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(c.run(0, append(args, "--json")...)), &v); err != nil {
		c.t.Fatal(err)
	}
	return fmt.Sprint(v[name])
}

// check compares what was seen with a file.
func (c *cli) check(file string) {
	c.t.Helper()
	text := c.log.String()
	name := func(kind string) func(string) string {
		return func(s string) string {
			if _, ok := c.names[s]; !ok {
				c.names[s] = fmt.Sprintf("%s-%d", kind, 1+len(c.names))
			}
			return c.names[s]
		}
	}
	text = jwtForm.ReplaceAllString(text, "JWT")
	text = pemForm.ReplaceAllString(text, "PEM")
	text = keyForm.ReplaceAllStringFunc(text, name("SECRET"))
	text = idForm.ReplaceAllStringFunc(text, name("ID"))
	text = spanForm.ReplaceAllString(text, "duration: SPAN")
	text = timeForm.ReplaceAllString(text, "TIME")
	golden.File(c.t, filepath.Join(c.dir, "testdata", file), []byte(gapForm.ReplaceAllString(text, "  ")))
}

// TestCLIGolden shows the commands as a newcomer uses them, on a state directory
// without a daemon.
func TestCLIGolden(t *testing.T) {
	t.Run("input", func(t *testing.T) {
		c := newCLI(t)
		c.run(0, "input", "list")
		c.run(0, "input", "create", "Studio 1")
		id := c.field("externalId", "input", "create", "Door", "--ingest", "rtmp", "--takeover", "refuse", "--allow-from", "192.0.2.0/24,198.51.100.7", "--group-duration", "2s")
		c.run(0, "input", "get", id)
		c.run(0, "input", "update", id, "--name", "Back door", "--allow-from", "", "--max-bitrate", "8000000")
		c.run(0, "input", "list")
		c.run(0, "input", "list", "--org", "org_abc")
		c.run(0, "input", "rotate-key", id)
		c.run(0, "input", "passphrase", id)
		c.run(0, "input", "passphrase", id, "--clear")
		c.run(0, "url", "sign", "--input", id, "--ttl", "10m")
		c.run(0, "url", "sign", "--input", id, "--relay", "https://live.example", "--json")
		c.run(0, "url", "revoke", "--id", "abcdefghijklmnop")
		c.run(2, "url", "revoke")
		c.run(2, "url", "revoke", "https://live.example/playback/"+id)
		c.run(2, "url", "revoke", "nonsense")
		c.run(0, "input", "delete", id)
		c.run(1, "input", "get", id)
		c.run(2, "input", "update", id)
		c.run(2, "input", "create", "x", "--ingest", "pigeon")
		c.run(2, "url", "sign")
		c.check("cli-input.golden")
	})
	t.Run("key", func(t *testing.T) {
		c := newCLI(t)
		key := c.run(0, "key", "create")
		c.run(0, "key", "create", "--alg", "RS256")
		c.run(0, "key", "create", "--stream", "stream/local/cam")
		c.run(0, "url", "sign", "--namespace", "stream/local/cam", "--relay", "moqt://live.example:4443", "--key", key, "--ttl", "1h")
		c.run(0, "url", "sign", "--namespace", "stream/local/cam")
		c.run(0, "key", "revoke", key)
		c.run(1, "url", "sign", "--namespace", "stream/local/cam", "--key", key)
		c.run(0, "key", "list")
		c.run(1, "key", "revoke", "k_none")
		c.run(2, "key", "create", "--alg", "HS256")
		c.run(2, "key", "create", "--stream", "local/cam")
		c.run(2, "key", "create", "--stream", "stream/local/cam", "--alg", "RS256")
		c.run(2, "url", "sign", "--namespace", "stream/local/cam", "--ttl", "9000h")
		c.run(0, "api-key", "create", "ci", "--scope", "streams:read", "--scope", "metrics:read")
		id := c.field("id", "api-key", "create", "other", "--org", "org_abc")
		c.run(0, "api-key", "list")
		c.run(0, "api-key", "revoke", id)
		c.run(0, "api-key", "list", "--org", "org_abc")
		c.run(2, "api-key", "create", "x", "--scope", "everything")
		c.check("cli-key.golden")
	})
}

// TestCLISessions steers sessions over HTTP, with a key of the environment.
func TestCLISessions(t *testing.T) {
	service := controltest.New(t)
	handler, err := api.New(api.Config{Control: service})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(handler)
	t.Cleanup(func() { handler.Close(); s.Close() })
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(controltest.AdminKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin, err := client.New(client.Config{URL: s.URL, Key: controltest.AdminKey, HTTPClient: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	made, err := admin.Sessions.Create(t.Context(), client.NewSession{Input: "cam", Protocol: "rtmp"})
	if err != nil {
		t.Fatal(err)
	}
	c := newCLI(t, "BROADCASTD_SERVER="+s.URL, "BROADCASTD_API_KEY_FILE="+keyFile)
	c.run(4, "session", "list") // an unknown certificate
	c.log.Reset()               // its text is the system's
	c.run(0, "session", "list", "--status", "idle", "--insecure")
	c.run(0, "session", "update", made.ID, "--metadata", "title=News,part=2", "--max-bitrate", "2500", "--target-latency", "800ms", "--insecure")
	c.run(0, "session", "resume", made.ID, "--insecure")
	c.run(0, "session", "pause", made.ID, "--insecure")
	c.run(0, "session", "disconnect", made.ID, "--viewer", "v1", "--insecure")
	c.run(2, "session", "disconnect", made.ID, "--remote", "here", "--insecure")
	c.run(0, "session", "end", made.ID, "--insecure")
	c.run(0, "session", "get", made.ID, "--insecure")
	c.run(0, "session", "get", made.ID, "--json", "--insecure")
	c.run(0, "session", "delete", made.ID, "--insecure")
	c.run(1, "session", "get", made.ID, "--insecure")
	c.run(2, "session", "update", made.ID, "--insecure")
	c.env[1] = "BROADCASTD_API_KEY=wrong"
	c.run(3, "session", "list", "--insecure")
	s.CloseClientConnections()
	c.check("cli-session.golden")
}

// TestCLIOldKeys finds the keys of a version that kept them as files.
func TestCLIOldKeys(t *testing.T) {
	c := newCLI(t)
	state := strings.TrimPrefix(c.env[0], "BROADCASTD_STATE_DIR=")
	if err := os.CopyFS(filepath.Join(state, "keys"), os.DirFS(filepath.Join("..", "..", "internal", "control", "testdata", "keys"))); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time they are in the store
		list := c.run(0, "key", "list")
		for _, want := range []string{"k_l2mdjgow45sy53mr", "u6xzdfdjtzdcu2ut", "stream/local/cam"} {
			if !strings.Contains(list, want) {
				t.Errorf("the list has no %s:\n%s", want, list)
			}
		}
	}
	c.run(0, "url", "sign", "--namespace", "stream/local/cam", "--key", "k_l2mdjgow45sy53mr")
	c.run(0, "key", "revoke", "u6xzdfdjtzdcu2ut")
}

// TestCLIFindsServer says where the commands look: a daemon that was killed has
// left an address, and a server that is named wrongly is a fault of the command.
func TestCLIFindsServer(t *testing.T) {
	c := newCLI(t)
	state := strings.TrimPrefix(c.env[0], "BROADCASTD_STATE_DIR=")
	left := `{"url":"http://127.0.0.1:1","pid":1}`
	if err := os.WriteFile(filepath.Join(state, serverFile), []byte(left), 0o600); err != nil {
		t.Fatal(err)
	}
	key := c.run(0, "key", "create")
	if list := c.run(0, "key", "list"); !strings.Contains(list, key) {
		t.Errorf("the list has no %s:\n%s", key, list)
	}
	c.run(2, "key", "list", "--server", "localhost")
	c.run(2, "key", "list", "--server", "https://localhost:1", "--cert-sha256", "abc")
	c.env = append(c.env, "BROADCASTD_API_KEY_FILE="+filepath.Join(state, "none"))
	c.run(2, "key", "list")
}
