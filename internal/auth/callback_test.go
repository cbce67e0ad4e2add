package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func causeOf(ctx context.Context) error { return context.Cause(ctx) }

const askURL = "https://auth.example/ask"

// A judge is what the callback reaches.
type judge struct {
	mu      sync.Mutex
	asked   []question
	headers []http.Header
	slow    time.Duration
	rule    func(question) (status int, body string)
}

func (j *judge) serve(r *http.Request) (int, http.Header, string) {
	var q question
	text, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(text, &q); err != nil || r.Method != http.MethodPost || r.URL.String() != askURL {
		return 400, nil, ""
	}
	j.mu.Lock()
	j.asked = append(j.asked, q)
	j.headers = append(j.headers, r.Header)
	slow := j.slow
	j.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
	}
	status, body := j.rule(q)
	return status, nil, body
}

func (j *judge) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.asked)
}

func judged(t testing.TB, b *book, rule func(question) (int, string)) (*Gate, *judge) {
	j := &judge{rule: rule}
	return openGate(t, Config{
		Directory: b, Loopback: Loopback{Enabled: true}, Transport: remote(j.serve),
		Callback: Callback{URL: askURL, Secret: "callback-secret"},
	}), j
}

// Over HTTP, and for encoders: what is asked, and what the answer allows.
func TestCallback(t *testing.T) {
	b := newBook()
	b.sign("ed", "", Ed25519)
	b.input("lv_1", "acme", RTMP, Policy{})
	own, _ := b.key("", "stream", "local", "cam")
	g, j := judged(t, b, func(q question) (int, string) {
		switch q.Credential {
		case "yes", "":
			return 204, ""
		case "all":
			return 200, `{"namespaces":["stream/acme/*"],"publish":true,"viewer":"v7","maxHeight":720}`
		case "rubbish":
			return 200, `{"namespaces":"all"}`
		case "past":
			return 200, `{"expires":1}`
		case "bad pattern":
			return 200, `{"namespaces":["stream/*/x"]}`
		case "broken":
			return 500, ""
		case "moved":
			return 302, ""
		}
		return 403, ""
	})
	publish := func(name, key string, p Ingest) (*Admission, error) {
		return g.Publish(t.Context(), PublishRequest{Protocol: p, Remote: far, Name: name, StreamKey: key})
	}
	play := func(id, key string) (*Admission, error) {
		return g.Play(request1(far, "/hls/"+id, key), []string{"playback", id})
	}
	for _, tt := range []struct {
		name string
		do   func() (*Admission, error)
		want Code // -1: another refusal
		ask  int
	}{
		{"a key of its own", func() (*Admission, error) { return publish("cam", "yes", RTMP) }, 0, 1},
		{"again", func() (*Admission, error) { return publish("cam", "yes", RTMP) }, 0, 0},
		{"another name", func() (*Admission, error) { return publish("cam2", "yes", RTMP) }, 0, 1},
		{"another protocol", func() (*Admission, error) { return publish("cam", "yes", WHIP) }, 0, 1},
		{"a key that it refuses", func() (*Admission, error) { return publish("cam", "no", RTMP) }, CodeUnknown, 1},
		{"again", func() (*Admission, error) { return publish("cam", "no", RTMP) }, CodeUnknown, 0},
		{"a key of ours", func() (*Admission, error) { return publish("cam", own, RTMP) }, 0, 0},
		{"a key of ours for another", func() (*Admission, error) { return publish("other", own, RTMP) }, CodeWrongInput, 0},
		{"an expired token of ours", func() (*Admission, error) {
			return play("cam", b.token(t, "ed", func(c *Claims) { c.Expires = 1 }))
		}, CodeExpired, 0},
		{"an input takes its protocol alone", func() (*Admission, error) { return publish("lv_1", "all", SRT) }, -1, 1},
		{"an input", func() (*Admission, error) { return publish("lv_1", "all", RTMP) }, 0, 1},
		{"a viewer without anything", func() (*Admission, error) { return play("lv_1", "") }, 0, 1},
		{"a viewer of all of acme", func() (*Admission, error) { return play("lv_1", "all") }, 0, 1},
		{"who may all of acme, elsewhere", func() (*Admission, error) { return play("cam", "all") }, CodeWrongInput, 1},
		{"an answer that cannot be read", func() (*Admission, error) { return play("cam", "rubbish") }, CodeUnavailable, 1},
		{"a pattern that is none", func() (*Admission, error) { return play("cam", "bad pattern") }, CodeUnavailable, 1},
		{"an end in the past", func() (*Admission, error) { return play("cam", "past") }, CodeExpired, 1},
		{"it fails", func() (*Admission, error) { return play("cam", "broken") }, CodeUnavailable, 1},
		{"and is asked again", func() (*Admission, error) { return play("cam", "broken") }, CodeUnavailable, 1},
		{"it redirects", func() (*Admission, error) { return play("cam", "moved") }, CodeUnavailable, 1},
		{"a credential too long", func() (*Admission, error) { return play("cam", strings.Repeat("x", maxToken+1)) }, CodeMalformed, 0},
	} {
		before := j.count()
		a, err := tt.do()
		got := CodeOf(err)
		if err != nil && got == 0 {
			got = -1
		}
		if got != tt.want || j.count()-before != tt.ask {
			t.Errorf("%s: %v, code %d, asked %d times, want code %d and %d", tt.name, err, got, j.count()-before, tt.want, tt.ask)
		}
		if err == nil {
			if grant := a.Grant(); tt.name == "a viewer of all of acme" && (grant.Viewer != "v7" || grant.MaxHeight != 720) {
				t.Errorf("%+v, want what the answer says", grant)
			}
			a.Close()
		}
	}
	want := question{Action: "publish", Protocol: RTMP, Input: "cam", Namespace: "stream/local/cam", Remote: "192.0.2.7", Credential: "yes"}
	if j.asked[0] != want {
		t.Errorf("asked %+v, want %+v", j.asked[0], want)
	}
	for i, h := range j.headers {
		if h.Get("Authorization") != "Bearer callback-secret" || h.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", h)
		}
		for name, values := range h {
			if c := j.asked[i].Credential; c != "" && name != "Authorization" && slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, c) }) {
				t.Errorf("the header %s holds a credential", name)
			}
		}
	}
	for name, url := range map[string]string{"http elsewhere": "http://auth.example/", "a user": "https://a:b@auth.example/"} {
		if _, err := NewGate(Config{Callback: Callback{URL: url}}); err == nil || !strings.Contains(err.Error(), "auth.callback") {
			t.Errorf("%s: %v, want an error that names auth.callback", name, err)
		}
	}
}

// A MoQ session by way of the callback: it sees what it may, and no more.
func TestCallbackSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, j := judged(t, newBook(), func(q question) (int, string) {
			switch {
			case q.Credential == "all" && q.Action == "connect":
				return 200, fmt.Sprintf(`{"namespaces":["stream/local/*"],"expires":%d}`, time.Now().Add(time.Minute).Unix())
			case q.Credential == "cam" && (q.Action == "connect" || q.Namespace == "stream/local/cam" && q.Action == "play"):
				return 204, ""
			case q.Credential == "" && q.Action == "connect", q.Credential == "" && q.Namespace == "stream/local/free":
				return 204, ""
			}
			return 401, ""
		})
		cam, other, free := []string{"stream", "local", "cam"}, []string{"stream", "local", "other"}, []string{"stream", "local", "free"}
		open := func(remote, path string) *Pass {
			p, err := g.Session(remote, path, nil)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		all, one, none := open(far.String(), "/?tok=all"), open(far.String(), "/?tok=cam"), open(far.String(), "/")
		local := open("127.0.0.1:5", "/")
		defer local.Close()
		asked := j.count()
		for _, tt := range []struct {
			name string
			p    *Pass
			ns   []string
			ok   bool
			ask  int
		}{
			{"all plays", all, cam, true, 0},
			{"all plays another", all, other, true, 0},
			{"one plays", one, cam, true, 1},
			{"one plays it again", one, cam, true, 0},
			{"one plays another", one, other, false, 1},
			{"none plays", none, cam, false, 1},
			{"none plays what is free", none, free, true, 1},
			{"who sits here plays", local, other, true, 0},
		} {
			if _, err := tt.p.Play(tt.ns, nil); (err == nil) != tt.ok || j.count()-asked != tt.ask {
				t.Errorf("%s: %v after %d questions, want ok %t and %d", tt.name, err, j.count()-asked, tt.ok, tt.ask)
			}
			asked = j.count()
		}
		if _, err := all.Publish(cam, nil); err == nil {
			t.Error("who may play may publish")
		}
		asked = j.count()
		if !one.Visible(cam) || one.Visible(other) || !all.Visible(other) || none.Visible(cam) || j.count() != asked {
			t.Error("a session hears of more or less than it may, or of it is asked")
		}
		if p, err := g.Session(far.String(), "/playback/cam?tok=no", nil); CodeOf(err) != CodeUnknown {
			p.Close()
			t.Errorf("a token that is refused: %v", err)
		}
		// The token of a request is for the like of it.
		for _, tt := range []struct {
			tokens []string
			ok     bool
		}{{nil, false}, {[]string{"cam"}, true}, {[]string{"cam"}, true}, {[]string{"no"}, false}, {nil, false}} {
			if _, err := none.Play(cam, tt.tokens); (err == nil) != tt.ok {
				t.Errorf("with the tokens %q: %v, want ok %t", tt.tokens, err, tt.ok)
			}
		}
		if !none.Visible(cam) {
			t.Error("it does not hear of what it plays")
		}
		// It ends when the answer says.
		start := time.Now()
		<-all.Context().Done()
		if d := time.Since(start); d > time.Minute || one.Context().Err() != nil {
			t.Errorf("it ended after %v, or another one has", d)
		}
		one.Close()
		none.Close()
	})
}

// One who waits for an answer holds up nobody, equal questions are asked once,
// and no answer is a no.
func TestCallbackSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.sign("ed", "", Ed25519)
		g, j := judged(t, b, func(question) (int, string) { return 204, "" })
		j.slow = time.Hour
		start := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := g.Publish(t.Context(), PublishRequest{Protocol: SRT, Remote: far, Name: "cam", StreamKey: "k"})
				wantCode(t, err, CodeUnavailable)
				if d := time.Since(start); d > askTimeout {
					t.Errorf("an answer took %v, want %v at most", d, askTimeout)
				}
			})
		}
		synctest.Wait()
		if got := try(t, g, b.token(t, "ed", nil), attempt{}); got != 0 || time.Since(start) != 0 {
			t.Errorf("a token of our own: code %d after %v, want it at once", got, time.Since(start))
		}
		for i := range maxAsking + 10 { // of which the last are refused at once
			wg.Go(func() {
				_, err := g.Publish(t.Context(), PublishRequest{Protocol: SRT, Remote: far, Name: fmt.Sprint("cam", i), StreamKey: "k"})
				wantCode(t, err, CodeUnavailable)
			})
		}
		synctest.Wait()
		if n := j.count(); n != maxAsking {
			t.Errorf("%d questions are under way, want %d", n, maxAsking)
		}
		wg.Wait()
	})
}

func TestCallbackIsBounded(t *testing.T) {
	g, _ := judged(t, newBook(), func(question) (int, string) { return 204, "" })
	now := time.Now()
	for i := range 3 * maxAnswers / 2 {
		r := request{action: actionPlay, namespace: []string{"stream", "local", fmt.Sprint(i)}, remote: netip.AddrFrom4([4]byte{192, 0, 2, 7})}
		if _, err := g.callback.ask(now, r, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(g.callback.young) + len(g.callback.old); n > maxAnswers {
		t.Errorf("%d answers are kept, want %d at most", n, maxAnswers)
	}
}

// What the callback allowed under an id can be taken back by it, and those who
// watch can be told from those who publish.
func TestCallbackRevocation(t *testing.T) {
	b := newBook()
	g, _ := judged(t, b, func(q question) (int, string) {
		return 200, `{"namespaces":["stream/local/cam"],"publish":` + fmt.Sprint(q.Action == "publish") + `,"id":"` + q.Credential + `"}`
	})
	play := func(key string) (*Admission, error) {
		return g.Play(request1(far, "/hls/cam", key), []string{"playback", "cam"})
	}
	one, err := play("one")
	two, err2 := play("two")
	pub, err3 := g.Publish(t.Context(), PublishRequest{Protocol: RTMP, Remote: far, Name: "cam", StreamKey: "three"})
	if err != nil || err2 != nil || err3 != nil {
		t.Fatal(err, err2, err3)
	}
	defer pub.Close()
	b.change(Change{Kind: ChangedToken}, func() { b.revoked["local/one"] = true })
	<-one.Context().Done()
	if CodeOf(causeOf(one.Context())) != CodeRevoked || two.Context().Err() != nil {
		t.Errorf("the one ended with %v, the other with %v", causeOf(one.Context()), causeOf(two.Context()))
	}
	if _, err := play("one"); CodeOf(err) != CodeRevoked {
		t.Errorf("it comes back with %v, want a refusal", err)
	}
	if n := g.Disconnect(Selector{Viewers: true, Namespace: []string{"stream", "local", "cam"}}, "over"); n != 1 || two.Context().Err() == nil || pub.Context().Err() != nil {
		t.Errorf("%d were closed, the viewer %v, the publisher %v, want the viewer alone", n, two.Context().Err(), pub.Context().Err())
	}
	if n := g.Disconnect(Selector{Viewers: true}, "over"); n != 0 {
		t.Errorf("a Selector of nobody closed %d", n)
	}
}
