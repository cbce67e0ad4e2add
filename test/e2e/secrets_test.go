package e2e_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// A hoard holds secrets by what they are, and what a daemon let out by where.
type hoard struct {
	t       *testing.T
	secrets map[string]string

	mu  sync.Mutex
	out map[string]string
}

// plant makes a secret that stands in no other place.
func (h *hoard) plant(what string) string {
	h.secrets[what] = fmt.Sprintf("canary%02dbird%x", len(h.secrets), time.Now().UnixNano())
	return h.secrets[what]
}

// keep keeps a secret that the daemon made.
func (h *hoard) keep(what, secret string) string {
	h.t.Helper()
	if len(secret) < 16 {
		h.t.Fatalf("%s is %q", what, secret)
	}
	h.secrets[what] = secret
	return secret
}

// collect takes what was let out.
func (h *hoard) collect(where, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out[where] += text + "\n"
}

// search looks for every secret in everything.
func (h *hoard) search() {
	h.t.Helper()
	for what, secret := range h.secrets {
		forms := []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret))}
		for where, text := range h.out {
			for _, form := range forms {
				if i := strings.Index(text, form); i >= 0 {
					h.t.Errorf("%s is in %s: …%s…", what, where, text[max(0, i-200):min(len(text), i+len(form)+100)])
					break
				}
			}
		}
	}
}

// upstream serves what a daemon asks others for, and keeps the URLs and the
// headers that it was asked with. own is the secret that belongs there.
func (h *hoard) upstream(where string, start func(http.Handler) *httptest.Server, answer int, own ...string) *httptest.Server {
	s := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := r.Method + " " + r.URL.String() + fmt.Sprint(r.Header)
		for _, secret := range own {
			text = strings.ReplaceAll(text, secret, "")
		}
		delete(r.Header, "Authorization")
		h.collect("what "+where+" was asked", text)
		w.WriteHeader(answer)
	}))
	h.t.Cleanup(s.Close)
	return s
}

// withUser puts a user and a query into a URL.
func withUser(plain, password, query string) string {
	u, err := url.Parse(plain)
	if err != nil {
		panic(err)
	}
	u.User = url.UserPassword("someone", password)
	u.RawQuery = "token=" + query
	return u.String()
}

// TestSecretsStayInside plants a secret in every credential that a daemon knows or
// is shown, right and wrong, and looks for them in everything that it lets out.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	h := &hoard{t: t, secrets: make(map[string]string), out: make(map[string]string)}
	admin, callback := h.plant("the admin key"), h.plant("the callback's secret")
	jwks, jwksQuery := h.plant("the JWKS URL's password"), h.plant("the JWKS URL's query")
	pull, pullQuery := h.plant("the pull URL's password"), h.plant("the pull URL's query")

	ask := h.upstream("the callback", httptest.NewServer, http.StatusForbidden, callback)
	keys := h.upstream("the JWKS", httptest.NewTLSServer, http.StatusOK, jwksQuery) // its certificate is trusted by nobody
	origin := h.upstream("the origin", httptest.NewServer, http.StatusForbidden, pullQuery)
	closed := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	pulls, err := json.Marshal([]map[string]string{
		{"name": "refused", "url": withUser(origin.URL+"/live.m3u8", pull, pullQuery)},
		{"name": "closed", "url": withUser("http://"+closed+"/live.m3u8", pull, pullQuery)},
	})
	if err != nil {
		t.Fatal(err)
	}
	// A JWKS URL with a password in it is refused, without a word of it.
	refused := exec.Command(harness.Build(t), "serve", "--state-dir", t.TempDir())
	refused.Env = append(os.Environ(), "BROADCASTD_AUTH__JWKS="+withUser(keys.URL+"/jwks.json", jwks, jwksQuery))
	if out, err := refused.CombinedOutput(); err == nil {
		t.Error("a JWKS URL with a password is taken")
	} else {
		h.collect("the refusal of a JWKS URL", string(out))
	}
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}, Env: map[string]string{
		"BROADCASTD_ADMIN_KEY": admin, "BROADCASTD_AUTH__LOOPBACK": "false", "BROADCASTD_LOG__LEVEL": "debug",
		"BROADCASTD_AUTH__CALLBACK": ask.URL + "/ask", "BROADCASTD_AUTH__CALLBACK_SECRET": callback,
		"BROADCASTD_AUTH__JWKS": keys.URL + "/jwks.json?token=" + jwksQuery, "BROADCASTD_PULLS": string(pulls),
		"BROADCASTD_METRICS__STREAM_LABEL": "10",
	}})
	base := "http://" + d.HTTP

	// call asks the daemon for something, and takes the answer as let out unless
	// it is the one that shows a secret.
	call := func(method, path, body string, header ...string) string {
		_, text := fetch(t, method, base+path, strings.NewReader(body), header...)
		h.collect(method+" "+strings.Split(path, "?")[0], text)
		return text
	}
	once := func(path, body string, into any) {
		t.Helper()
		status, text := fetch(t, http.MethodPost, base+"/api/v1"+path, strings.NewReader(body), "Authorization", "Bearer "+admin, "Content-Type", "application/json")
		if status/100 != 2 {
			t.Fatalf("POST %s: %d %s", path, status, text)
		}
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	asAdmin := []string{"Authorization", "Bearer " + admin, "Content-Type", "application/json"}

	var input struct{ ID, ExternalID, StreamKey string }
	once("/live-inputs", `{"name":"camera"}`, &input)
	oldKey := h.keep("the stream key before the rotation", input.StreamKey)
	once("/live-inputs/"+input.ID+"/rotate-key", "", &input)
	streamKey := h.keep("the stream key", input.StreamKey)
	var apiKey struct{ Key string }
	once("/api-keys", `{"name":"k","orgs":["local"],"scopes":["streams:read"]}`, &apiKey)
	h.keep("the API key", apiKey.Key)
	var play struct{ URL, Token string }
	once("/live-inputs/"+input.ID+"/playback-url", `{"ttlSeconds":600}`, &play)
	_, signature, _ := strings.Cut(play.Token[strings.Index(play.Token, ".")+1:], ".")
	h.keep("the playback token", signature)
	var adhoc struct{ Key, StreamKey string }
	once("/stream-keys", `{"namespace":"stream/local/adhoc"}`, &adhoc)
	h.keep("the stream key of a name", adhoc.Key+adhoc.StreamKey)

	// URLs in settings, good ones and bad ones, are shown without what they hold.
	inputPull, inputQuery := h.plant("an input's pull password"), h.plant("an input's pull query")
	settings := fmt.Sprintf(`{"settings":{"pull":%q,"backup":%q}}`, withUser("http://"+closed+"/x.m3u8", inputPull, inputQuery), withUser("http://"+closed+"/y.m3u8", inputPull, inputQuery))
	call(http.MethodPatch, "/api/v1/live-inputs/"+input.ID, settings, asAdmin...)
	call(http.MethodPatch, "/api/v1/live-inputs/"+input.ID, fmt.Sprintf(`{"settings":{"pull":"ht tp://u:%s@x"}}`, h.plant("a bad URL's password")), asAdmin...)
	call(http.MethodPatch, "/api/v1/live-inputs/"+input.ID, fmt.Sprintf(`{"settings":{"pull":[%q]}}`, h.plant("a URL of the wrong type")), asAdmin...)

	var pulled struct{ ID string }
	once("/live-inputs", fmt.Sprintf(`{"name":"pulled","ingest":"hls","settings":{"pull":%q}}`, withUser("http://"+closed+"/z.m3u8", inputPull, inputQuery)), &pulled)
	if text := call(http.MethodGet, "/api/v1/live-inputs/"+pulled.ID, "", asAdmin...); !strings.Contains(text, "/z.m3u8") {
		t.Errorf("an input that pulls is shown as %s", text)
	}
	var srt struct{ ID, Passphrase, StreamKey string }
	once("/live-inputs", `{"name":"srt","ingest":"srt"}`, &srt)
	once("/live-inputs/"+srt.ID+"/rotate-passphrase", "", &srt)
	h.keep("an SRT passphrase that was made", srt.Passphrase)
	call(http.MethodPut, "/api/v1/live-inputs/"+srt.ID+"/passphrase", fmt.Sprintf(`{"passphrase":%q}`, h.plant("an SRT passphrase")), asAdmin...)
	call(http.MethodPut, "/api/v1/live-inputs/"+srt.ID+"/passphrase", fmt.Sprintf(`{"passphrase":%q}`, strings.Repeat(h.plant("a passphrase that is too long"), 4)), asAdmin...)

	// An encoder with the right key, on each way that carries one; then wrong ones.
	name := input.ExternalID
	encoder := func(muxer, target string, more ...string) *harness.Proc {
		args := append(harness.TestPicture{}.Args(), more...)
		return harness.FFmpeg(t, append(append(args, strings.Fields(muxer)...), target)...)
	}
	good := encoder(strings.Join(harness.FMP4(), " "), base+"/ingest/"+name, "-headers", "Authorization: Bearer "+streamKey+"\r\n", "-method", "POST", "-send_expect_100", "1")
	waitFor := func(what string, ok func() bool) {
		t.Helper()
		harness.Eventually(t, 20*time.Second, what, func(context.Context) error {
			if !ok() {
				return fmt.Errorf("it is not so")
			}
			return nil
		})
	}
	waitFor("the session of the input", func() bool {
		return strings.Contains(call(http.MethodGet, "/api/v1/sessions", "", asAdmin...), `"live"`)
	})
	wrong := h.plant("a wrong stream key")
	header := "\x00\x00\x00\x18ftypiso5\x00\x00\x02\x00iso5iso6"
	for _, path := range []string{"/ingest/" + name + "?sk=" + oldKey, "/ingest/" + name + "?sk=sk_live_x_" + wrong, "/ingest/adhoc?tok=" + wrong, "/ingest/" + name + "/init.mp4?key=" + wrong} {
		call(http.MethodPost, path, header)
	}
	for _, target := range []string{"?sk=" + streamKey, "?sk=sk_live_x_" + wrong} { // the first is right, but of another protocol
		if d.RTMP != "" {
			p := encoder("-f flv", "rtmp://"+d.RTMP+"/live/"+name+target)
			p.Wait(15 * time.Second) // it is refused
		}
	}
	cli := func(env []string, args ...string) string {
		cmd := exec.Command(harness.Build(t), args...)
		cmd.Env = append(os.Environ(), env...)
		cmd.Dir = t.TempDir()
		p := harness.StartProc(t, "broadcastd "+args[0], cmd)
		p.Wait(30 * time.Second) // some are refused
		h.collect("the output of broadcastd "+args[0], p.Log())
		return p.Log()
	}
	pin := []string{"--cert-sha256", d.CertHash(t), "--verbose"}
	watchURL := "moqt://" + d.MoQ + "/playback/" + name + "?tok=" + play.Token
	if log := cli(nil, append([]string{"view", watchURL, "--duration", "1s"}, pin...)...); strings.Contains(log, "auth_failed") {
		t.Errorf("the right token was refused: %s", log)
	}
	cli(nil, append([]string{"view", watchURL + h.plant("a tampered token"), "--duration", "1s"}, pin...)...)
	cli([]string{"BROADCASTD_STREAM_KEY=sk_live_x_" + wrong}, append([]string{"publish", "--relay", "moqt://" + d.MoQ, "--namespace", "stream/local/adhoc", "/dev/null"}, pin...)...)
	cli([]string{"BROADCASTD_STREAM_KEY=" + streamKey}, append([]string{"publish", "--relay", "https://" + d.MoQ, "--namespace", "stream/local/" + name, withUser(origin.URL+"/x.m3u8", pull, pullQuery)}, pin...)...)

	// Whoever asks the API with a wrong key, or shows one where it does not belong.
	wrongAPI := h.plant("a wrong API key")
	for _, path := range []string{"/api/v1/live-inputs", "/api/v1/streaming/sessions", "/api/trpc/streams.liveInputs.list", "/metrics", "/api/v1/broadcasts", "/api/v1/nothing"} {
		call(http.MethodGet, path, "", "Authorization", "Bearer tqs_live_x_"+wrongAPI)
		call(http.MethodGet, path+"?apiKey="+wrongAPI+"&tok="+play.Token, "", "X-API-Key", wrongAPI)
		call(http.MethodGet, path, "", "X-API-Key", apiKey.Key)
	}
	call(http.MethodGet, "/watch/"+name+"?tok="+play.Token, "")

	// What the daemon shows of what it has.
	for _, path := range []string{
		"/api/v1/live-inputs", "/api/v1/live-inputs/" + input.ID, "/api/v1/api-keys", "/api/v1/stream-keys", "/api/v1/signing-keys", "/api/v1/sessions",
		"/api/v1/broadcasts", "/api/v1/analytics/overview", "/api/v1/streaming/analytics/prometheus", "/metrics", "/api/v1/version", "/.well-known/jwks.json",
	} {
		call(http.MethodGet, path, "", asAdmin...)
	}
	h.collect("the events", events(t, base+"/api/v1/events?after=0", admin))
	for _, path := range []string{"/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/trace?seconds=1", "/debug/pprof/"} {
		_, text := fetch(t, http.MethodGet, "http://"+d.Admin+path, nil)
		h.collect("the admin's "+path, text)
	}
	waitFor("the pulls", func() bool { return strings.Count(d.Log(), "pull failed") >= 2 })
	good.Kill()
	if _, err := d.Stop(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	h.collect("the log", d.Log())
	print := exec.Command(harness.Build(t), "config", "print")
	print.Env = append(os.Environ(), "BROADCASTD_ADMIN_KEY="+admin, "BROADCASTD_AUTH__CALLBACK_SECRET="+callback,
		"BROADCASTD_AUTH__JWKS="+withUser(keys.URL+"/jwks.json", jwks, jwksQuery), "BROADCASTD_PULLS="+string(pulls))
	printed, err := print.CombinedOutput()
	if err != nil {
		t.Errorf("config print: %v", err)
	}
	h.collect("config print", string(printed))
	collectState(t, h, d.StateDir)
	if n := len(h.out["the log"]); n < 2000 {
		t.Errorf("the log has %d bytes", n)
	}
	h.search()
}

// events reads the events since the start, as far as they come within a second.
func events(t *testing.T, url, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body) // until the time is over
	if !strings.Contains(string(b), "input.created") {
		t.Errorf("the events are %q", b)
	}
	return string(b)
}

// collectState takes the files that the daemon leaves, but for those whose purpose
// is to hold a secret.
func collectState(t *testing.T, h *hoard, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "admin.key" {
			return err
		}
		b, err := os.ReadFile(path)
		h.collect("the file "+e.Name(), string(b))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
