package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/golden"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	l, err := Load(Sources{StateDir: "/state"})
	if err != nil {
		t.Fatal(err)
	}
	c := l.Config
	if c.StateDir != "/state" || c.HTTP.Listen != ":8080" || c.MoQ.Listen != ":4443" || c.Admin.Listen != "127.0.0.1:9998" {
		t.Errorf("listeners and state = %+v", c)
	}
	if c.GroupDuration != time.Second || c.Ingest.Grace != 5*time.Second || !c.Auth.Loopback || c.MoQ.Join != "group" || c.Demo {
		t.Errorf("defaults = %+v", c)
	}
}

// TestPrecedence sets one key in every place: each place wins over those before it.
func TestPrecedence(t *testing.T) {
	file := write(t, "broadcastd.yaml", "demo: no\nhttp:\n  listen: :1\n")
	env := []string{"BROADCASTD_HTTP__LISTEN=:2"}
	flags := map[string]string{"http.listen": ":3"}
	for _, tt := range []struct {
		name       string
		src        Sources
		want       string
		wantOrigin string
	}{
		{"default", Sources{}, ":8080", "default"},
		{"file", Sources{File: file}, ":1", file + ":3"},
		{"file found by search", Sources{Search: []string{file + ".none", file}}, ":1", file + ":3"},
		{"environment over file", Sources{File: file, Env: env}, ":2", "BROADCASTD_HTTP__LISTEN"},
		{"flag over all", Sources{File: file, Env: env, Flags: flags}, ":3", "--http.listen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Load(tt.src)
			if err != nil {
				t.Fatal(err)
			}
			if l.Config.HTTP.Listen != tt.want {
				t.Errorf("http.listen = %q, want %q", l.Config.HTTP.Listen, tt.want)
			}
			for _, v := range l.Values {
				if v.Key.Name == "http.listen" && v.Origin != tt.wantOrigin {
					t.Errorf("origin = %q, want %q", v.Origin, tt.wantOrigin)
				}
			}
		})
	}
}

// TestEveryKey sets every key in each of the three ways.
func TestEveryKey(t *testing.T) {
	values := map[string]string{
		"state_dir": "/elsewhere", "admin_key": "0123456789abcdef", "demo": "true",
		"http.listen": "127.0.0.1:1", "moq.listen": "127.0.0.1:2", "rtmp.listen": "127.0.0.1:3", "rtmps.listen": "127.0.0.1:7", "srt.listen": "127.0.0.1:4", "srt.latency": "300ms", "srt.more": "[{listen: '127.0.0.1:8', latency: 2s}]",
		"webrtc.listen": "127.0.0.1:5", "admin.listen": "127.0.0.1:6", "public_url": "https://live.example",
		"moq.public": "https://live.example:4443", "moq.join": "strict",
		"moq.drain_uri": "moqt://other.example:4443", "moq.drain_timeout": "30s", "moq.cache_bytes": "512MiB", "tls.cert": "c.pem", "tls.key": "k.pem",
		"group_duration": "2s", "ingest.grace": "7s", "ingest.stall": "3s", "pulls": "[{name: a, url: 'https://b.example/x.m3u8', headers: {X-Key: k}}]", "pull.allow": "[10.1.0.0/16]",
		"auth.jwks": "https://keys.example/jwks.json", "auth.callback": "https://auth.example/ask", "auth.callback_secret": "s", "auth.loopback": "false", "trusted_proxies": "[10.0.0.0/8, '::1']",
		"metrics.stream_label": "5", "log.level": "debug", "log.format": "json",
	}
	var file strings.Builder
	var env []string
	for _, k := range Keys("") {
		v, ok := values[k.Name]
		if !ok {
			t.Fatalf("the test has no value for %s", k.Name)
		}
		file.WriteString(k.Name + ": " + v + "\n")
		env = append(env, k.Env()+"="+v)
	}
	for name, src := range map[string]Sources{
		"file":  {File: write(t, "c.yaml", file.String())},
		"env":   {Env: env},
		"flags": {Flags: values},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Load(src)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range l.Values {
				if v.Origin == "default" {
					t.Errorf("%s was not set", v.Key.Name)
				}
			}
			c := l.Config
			if c.GroupDuration != 2*time.Second || c.Ingest.Grace != 7*time.Second || c.Auth.Loopback || !c.Demo ||
				c.MoQ.Public != "https://live.example:4443" || c.Log.Format != "json" || c.AdminKey != "0123456789abcdef" {
				t.Errorf("config = %+v", c)
			}
			if want := []Pull{{"a", "https://b.example/x.m3u8", map[string]string{"X-Key": "k"}}}; !reflect.DeepEqual(c.Pulls, want) {
				t.Errorf("pulls = %v, want %v", c.Pulls, want)
			}
			if want := netip.MustParsePrefix("10.1.0.0/16"); !slices.Equal(c.PullAllow, []netip.Prefix{want}) {
				t.Errorf("pull.allow = %v, want %v", c.PullAllow, want)
			}
			want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
			if !slices.Equal(c.TrustedProxies, want) {
				t.Errorf("trusted_proxies = %v, want %v", c.TrustedProxies, want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		yaml string
		env  []string
		want []string // each has to be in the error
	}{
		{"unknown key with a near one", "http:\n  lisen: :1\n", nil, []string{`c.yaml:2: unknown key "http.lisen"; did you mean "http.listen"?`}},
		{"unknown key without", "frobnicate: 1\n", nil, []string{`c.yaml:1: unknown key "frobnicate"; ` + "`broadcastd config print`"}},
		{"every fault at once", "moq:\n  join: maybe\nlog:\n  level: loud\n", nil, []string{`c.yaml:2: moq.join is "maybe", want group or strict`, `c.yaml:4: log.level is "loud"`}},
		{"set twice", "demo: true\ndemo: false\n", nil, []string{"c.yaml:2: demo is set twice, first on line 1"}},
		{"set twice in both forms", "http.listen: :1\nhttp:\n  listen: :2\n", nil, []string{"c.yaml:3: http.listen is set twice, first on line 1"}},
		{"section with a value", "http: :8080\n", nil, []string{`c.yaml:1: http holds ":8080", want keys and values`}},
		{"key with a list", "http:\n  listen: [a]\n", nil, []string{"c.yaml:2: http.listen holds a list, want one value"}},
		{"list with a word", "pulls: a\n", nil, []string{`c.yaml:1: pulls holds "a", want a list`}},
		{"unknown field in a list", "pulls:\n  - {name: a, uri: b}\n", nil, []string{"c.yaml:2: pulls is no YAML list", "field uri not found"}},
		{"duration", "group_duration: 1\n", nil, []string{`c.yaml:1: group_duration is "1", want a duration such as 1s`}},
		{"duration out of range", "group_duration: 1m\n", nil, []string{"c.yaml:1: group_duration is 1m0s, want 500ms to 10s"}},
		{"bytes", "moq:\n  cache_bytes: 1 MB\n", nil, []string{`c.yaml:2: moq.cache_bytes is "1 MB", want a number of bytes`}},
		{"too many bytes", "moq:\n  cache_bytes: 9999999999GiB\n", nil, []string{"c.yaml:2: moq.cache_bytes is"}},
		{"drain to a page", "moq:\n  drain_uri: http://a.example\n", nil, []string{"c.yaml:2: moq.drain_uri is no URL of the form moqt://host or https://host"}},
		{"listen", "http:\n  listen: 8080\n", nil, []string{`c.yaml:2: http.listen is "8080", want host:port`}},
		{"environment", "", []string{"BROADCASTD_AUTH__LOOPBACK=maybe"}, []string{`BROADCASTD_AUTH__LOOPBACK: auth.loopback is "maybe", want true or false`}},
		{"secret twice", "", []string{"BROADCASTD_ADMIN_KEY=0123456789abcdef", "BROADCASTD_ADMIN_KEY_FILE=x"}, []string{"BROADCASTD_ADMIN_KEY_FILE: BROADCASTD_ADMIN_KEY is set as well"}},
		{"short secret stays hidden", "admin_key: hunter2\n", nil, []string{"c.yaml:1: admin_key is shorter than 16 characters"}},
		{"half of TLS", "tls:\n  cert: a.pem\n", nil, []string{"c.yaml:2: tls.cert is set alone"}},
		{"no YAML", "a: [\n", nil, []string{"c.yaml: "}},
		{"two documents", "demo: true\n---\ndemo: true\n", nil, []string{"more than one YAML document"}},
		{"URL with a query", "public_url: https://a.example/?x=1\n", nil, []string{"c.yaml:1: public_url is no URL of the form https://host or http://host"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(Sources{File: write(t, "c.yaml", tt.yaml), Env: tt.env})
			if err == nil {
				t.Fatal("Load = nil error, want a fault")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Load: %v\nwant in it: %s", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestFileIsMissing(t *testing.T) {
	if _, err := Load(Sources{File: filepath.Join(t.TempDir(), "none.yaml")}); err == nil {
		t.Error("Load of a named file that is not there = nil error")
	}
	if _, err := Load(Sources{Search: []string{filepath.Join(t.TempDir(), "none.yaml")}}); err != nil {
		t.Errorf("Load with nothing at the usual places: %v", err)
	}
}

func TestSecretFile(t *testing.T) {
	path := write(t, "key", "0123456789abcdef\n")
	l, err := Load(Sources{Env: []string{"BROADCASTD_ADMIN_KEY_FILE=" + path}})
	if err != nil {
		t.Fatal(err)
	}
	if l.Config.AdminKey != "0123456789abcdef" {
		t.Errorf("admin key = %q", l.Config.AdminKey)
	}
}

func TestEnvironmentSlips(t *testing.T) {
	l, err := Load(Sources{Env: []string{
		"BROADCASTD_HTTP_LISTEN=:1",                 // one underscore
		"BROADCASTD_TEST_TOOLS=required",            // somebody else's
		"BROADCASTD_PORT_8080_TCP=tcp://10.0.0.1:1", // Kubernetes
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := "environment variable BROADCASTD_HTTP_LISTEN is no setting; did you mean BROADCASTD_HTTP__LISTEN?"
	if len(l.Warnings) != 1 || l.Warnings[0] != want {
		t.Errorf("warnings = %q, want %q alone", l.Warnings, want)
	}
}

// TestPrint checks what `config print` shows, and that it is a config file again.
func TestPrint(t *testing.T) {
	file := write(t, "c.yaml", "pulls:\n  - name: news\n    url: https://me:pass@a.example/x.m3u8?token=abc\nlog:\n  level: debug\n")
	l, err := Load(Sources{
		File: file, StateDir: "/state",
		Env: []string{"BROADCASTD_ADMIN_KEY=0123456789abcdef"}, Flags: map[string]string{"demo": "true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.YAML()
	if err != nil {
		t.Fatal(err)
	}
	got = []byte(strings.ReplaceAll(string(got), file, "c.yaml"))
	path := filepath.Join("testdata", "print.golden.yaml")
	golden.File(t, path, got)
	if _, err := Load(Sources{File: path}); err == nil || !strings.Contains(err.Error(), "admin_key is the mask") {
		t.Errorf("Load of a masked key = %v, want a refusal", err)
	}
	again := write(t, "again.yaml", strings.Replace(string(got), masked, "0123456789abcdef", 1))
	if _, err := Load(Sources{File: again}); err != nil {
		t.Errorf("what was printed does not load: %v", err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add("http:\n  listen: :1\npulls:\n- {name: a, url: 'http://b'}\n")
	f.Add("a: &a [*a]\n")
	f.Add("http: *x\n? [a]\n: b\n")
	f.Add("&a demo: true\nlog: {level: *a}\n")
	f.Fuzz(func(t *testing.T, text string) {
		l := &loader{keys: Keys(""), at: map[string]int{}}
		for i, k := range l.keys {
			l.at[k.Name] = i
			l.values = append(l.values, Value{Key: k, Text: k.Default})
		}
		l.yaml("f", []byte(text)) // must return: no panic, no endless alias
	})
}
