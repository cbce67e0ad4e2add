package e2e_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/test/harness"
)

// TestContractDataPlane goes through the conventions of the data plane that
// TestContractBroadcast does not meet on its way.
func TestContractDataPlane(t *testing.T) {
	t.Parallel()
	d, s := startContract(t, "org_abc")
	input := s.row("streams.liveInputs.create", object{"name": "Main stage"})
	lv, sk := text(input, "external_input_id"), text(input, "stream_key_cleartext")
	minted := s.row("streams.liveInputs.mintPlaybackToken", object{"id": lv, "ttlSeconds": 300})

	t.Run("the token verifies with the JWKS", func(t *testing.T) {
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal([]byte(body(t, 200, "GET", s.base+"/.well-known/jwks.json", nil)), &set); err != nil {
			t.Fatal(err)
		}
		signed, sig, _ := cutLast(text(minted, "token"), ".")
		for _, k := range set.Keys {
			if k["kid"] != minted["kid"] {
				continue
			}
			x, err := base64.RawURLEncoding.DecodeString(k["x"])
			raw, err2 := base64.RawURLEncoding.DecodeString(sig)
			if err != nil || err2 != nil || k["kty"] != "OKP" || k["crv"] != "Ed25519" || len(x) != ed25519.PublicKeySize || !ed25519.Verify(x, []byte(signed), raw) {
				t.Errorf("key %v does not verify the token (%v, %v)", k, err, err2)
			}
			return
		}
		t.Errorf("%d keys, and none with the kid of the token", len(set.Keys))
	})

	t.Run("a playback id is resolved", func(t *testing.T) {
		var got object
		answer := body(t, 200, "GET", s.base+"/api/v1/playback/"+lv+"?tok="+text(minted, "token"), nil)
		if err := json.Unmarshal([]byte(answer), &got); err != nil {
			t.Fatal(err)
		}
		if got["type"] != "live" || got["relayUrl"] != "https://"+d.MoQ || got["namespace"] != "stream/org_abc/"+lv || got["certificateHash"] != d.CertHash(t) {
			t.Errorf("%v", got)
		}
		body(t, 404, "GET", s.base+"/api/v1/playback/lv_nothing", nil)
		body(t, 404, "GET", s.base+"/api/v1/playback/pb_nothing", nil)
	})

	t.Run("fMP4 is pushed with the stream key as a bearer", func(t *testing.T) {
		media, err := os.ReadFile(filepath.Join(harness.Root(), "cmaf", "testdata", "cmaf.mp4"))
		if err != nil {
			t.Fatal(err)
		}
		target := s.base + "/ingest/" + lv
		for _, key := range []string{"", "sk_live_x_y"} {
			status, answer := push(t, "POST", target, media, key)
			if status != 401 && status != 403 {
				t.Errorf("with %q: %d %s, want a refusal", key, status, answer)
			}
		}
		for _, method := range []string{"POST", "PUT"} {
			if status, answer := push(t, method, target, media, sk); status/100 != 2 {
				t.Errorf("%s: %d %s", method, status, answer)
			}
		}
	})

	t.Run("another protocol than the input's is refused", func(t *testing.T) {
		other := s.row("streams.liveInputs.create", object{"name": "OBS", "ingest": "rtmp"})
		status, answer := push(t, "POST", s.base+"/ingest/"+text(other, "external_input_id"), []byte("x"), text(other, "stream_key_cleartext"))
		if status != 403 || !strings.Contains(answer, "rtmp") {
			t.Errorf("%d %s, want 403 that names rtmp", status, answer)
		}
		id := text(other, "external_input_id")
		p, err := publish(t, d, "moqt://"+d.MoQ+"/publish/"+id+"?sk="+text(other, "stream_key_cleartext"), "stream", "org_abc", id)
		if err == nil {
			select {
			case <-p.session.ended:
				err = p.session.err
			case <-time.After(5 * time.Second):
			}
		}
		if err == nil || !strings.Contains(err.Error(), "rtmp") {
			t.Errorf("MoQ into an input of rtmp: %v, want a refusal that names rtmp", err)
		}
	})

	t.Run("forms of the namespace", func(t *testing.T) {
		input := s.row("streams.liveInputs.create", object{"name": "Second stage"})
		lv, sk := text(input, "external_input_id"), text(input, "stream_key_cleartext")
		url := text(s.row("streams.liveInputs.mintPlaybackToken", object{"id": lv}), "url")
		if _, err := publish(t, d, "https://"+d.MoQ+"/publish/"+lv+"?sk="+sk, "stream/org_abc/"+lv); err != nil {
			t.Fatalf("publish with the namespace as one field: %v", err)
		}
		harness.Eventually(t, 10*time.Second, "status live", statusIs(s, input, "live"))
		for name, ns := range map[string][]string{
			"tuple": {"stream", "org_abc", lv}, "one field": {"stream/org_abc/" + lv}, "playback": {"playback", lv}, "playback as one field": {"playback/" + lv},
		} {
			w, err := watch(t, d, url, ns...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if c := w.next(t); !c.isInit {
				t.Errorf("%s: the first chunk is no init segment", name)
			}
			if got := announced(t, w.session); got != "stream/org_abc/"+lv {
				t.Errorf("%s: announced %q, want the tuple", name, got)
			}
			w.session.Close(0, "")
			<-w.session.ended
		}
	})

	t.Run("hints of a publisher are accepted", func(t *testing.T) {
		second := s.row("streams.liveInputs.create", object{"name": "Hints"})
		id := text(second, "external_input_id")
		p, err := publishAs(t, d, "moqt://"+d.MoQ+"/publish/"+id+"?sk="+text(second, "stream_key_cleartext"), track.NewProperties(
			track.Property{Type: 0x3c1, Bytes: []byte("media.broadcast")}, track.Property{Type: 0x3c3, Bytes: []byte("avc1.42E01E,mp4a.40.2")},
		), "stream", "org_abc", id)
		if err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, 10*time.Second, "status live", statusIs(s, second, "live"))
		select {
		case <-p.session.ended:
			t.Errorf("the publisher's session ended: %v", p.session.err)
		default:
		}
	})
}

// announced returns the first namespace that a session hears of.
func announced(t *testing.T, m *moq) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for ev, err := range m.Namespaces(ctx, track.MustNamespace("stream")) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Active && len(ev.Namespace.Fields()) == 3 {
			return strings.Join(ev.Namespace.Fields(), "/")
		}
	}
	return ""
}

// body sends a request and returns the body of an answer of that status.
func body(t *testing.T, want int, method, target string, in io.Reader) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		t.Errorf("%s %.80s: %s %s (%v), want %d", method, target, res.Status, out, err, want)
	}
	return string(out)
}

// push sends media to an ingest endpoint with a stream key, if there is one.
func push(t *testing.T, method, target string, media []byte, key string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, struct{ io.Reader }{bytes.NewReader(media)}) // chunked
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue") // or a refusal may be lost
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: 5 * time.Second, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(out)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
