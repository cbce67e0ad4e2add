package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/test/harness"
)

// TestContractBroadcast goes the whole way of a broadcast: create an input,
// publish, mint a URL, view, rotate the key, deactivate the signing key.
func TestContractBroadcast(t *testing.T) {
	t.Parallel()
	d, s := startContract(t, "org_abc")
	input := s.row("streams.liveInputs.create", object{"name": "Main stage"})
	lv, sk := text(input, "external_input_id"), text(input, "stream_key_cleartext")
	ns := []string{"stream", "org_abc", lv}

	refusedPublish := func(what, target string, namespace ...string) {
		t.Helper()
		p, err := publish(t, d, target, namespace...)
		if err == nil {
			<-p.session.ended
			err = p.session.err
		}
		if got := closeReason(err); got != "auth_failed" {
			t.Errorf("%s: %s (%v), want auth_failed", what, got, err)
		}
	}
	refusedPublish("no stream key", "https://"+d.MoQ+"/publish/"+lv, ns...)
	refusedPublish("a wrong stream key", "https://"+d.MoQ+"/publish/"+lv+"?sk=sk_live_x_y", ns...)
	refusedPublish("another input's namespace", "moqt://"+d.MoQ+"/publish/"+lv+"?sk="+sk, "stream", "org_abc", "lv_other")
	pub, err := publish(t, d, "https://"+d.MoQ+"/publish/"+lv+"?sk="+sk, ns...)
	if err != nil {
		t.Fatalf("publish over WebTransport: %v", err)
	}
	harness.Eventually(t, 10*time.Second, "status live", statusIs(s, input, "live"))

	minted := s.row("streams.liveInputs.mintPlaybackToken", object{"id": input["id"], "ttlSeconds": 300})
	url := text(minted, "url")
	w, err := watch(t, d, url, "playback", lv)
	if err != nil {
		t.Fatalf("view over QUIC: %v", err)
	}
	wantChunks(t, w)
	web, err := watch(t, d, strings.Replace(url, "moq://", "https://", 1), ns...)
	if err != nil {
		t.Fatalf("view over WebTransport: %v", err)
	}
	wantChunks(t, web)
	wantCatalog(t, web.session, ns...)
	refusedViews(t, d, s, input, url)
	wantFigures(t, s, lv)

	rotated := s.row("streams.liveInputs.rotateStreamKey", object{"id": input["id"]})
	began := time.Now()
	select {
	case <-pub.session.ended:
	case <-time.After(5 * time.Second):
	}
	if got := closeReason(pub.session.err); got != "auth_failed" || time.Since(began) > 2*time.Second {
		t.Errorf("the publisher with the old key: %s after %v (%v), want auth_failed within 2 s", got, time.Since(began), pub.session.err)
	}
	refusedPublish("the old stream key", "moqt://"+d.MoQ+"/publish/"+lv+"?sk="+sk, ns...)
	sk = text(rotated, "stream_key_cleartext")
	again, err := publish(t, d, "moq://"+d.MoQ+"/publish/"+lv+"?sk="+sk, "publish", lv)
	if err != nil {
		t.Fatalf("publish with the new key, over QUIC: %v", err)
	}
	// The viewers have stayed: the return is within the grace.
	for _, x := range []*watcher{w, web} {
		for len(x.chunks) > 0 {
			<-x.chunks
		}
		x.next(t)
	}

	began = time.Now()
	s.row("streams.signingKeys.deactivate", object{"id": minted["kid"]})
	for who, x := range map[string]*watcher{"QUIC": w, "WebTransport": web} {
		select {
		case <-x.session.ended:
		case <-time.After(5 * time.Second):
		}
		if got := closeReason(x.session.err); got != "auth_failed" || time.Since(began) > 2*time.Second {
			t.Errorf("the viewer over %s: %s after %v (%v), want auth_failed within 2 s", who, got, time.Since(began), x.session.err)
		}
	}
	if w, err := watch(t, d, url, "playback", lv); closeReason(err) != "auth_failed" {
		t.Errorf("the deactivated key's token: %v, %v, want auth_failed", w, err)
	}

	// The end of the input is the end of the view, with the contract's reason.
	s.row("streams.signingKeys.create", object{"alg": "RS256"})
	minted = s.row("streams.liveInputs.mintPlaybackToken", object{"id": input["id"]})
	if minted["alg"] != "RS256" {
		t.Errorf("alg %v, want RS256, the one key that counts", minted["alg"])
	}
	last, err := watch(t, d, text(minted, "url"), "playback", lv)
	if err != nil {
		t.Fatalf("view with a token of RS256: %v", err)
	}
	last.next(t)
	again.finish()
	select {
	case err := <-last.ended:
		if got := closeReason(err); got != "complete" {
			t.Errorf("the view ended with %s (%v), want complete", got, err)
		}
	case <-time.After(15 * time.Second):
		t.Error("the view has not ended with its input")
	}
	harness.Eventually(t, 10*time.Second, "status idle", statusIs(s, input, "idle"))
	d.Stop()
	for _, secret := range []string{sk, s.key, contractAdminKey, "tok=ey", "sk_live_"} {
		if strings.Contains(d.Log(), secret) {
			t.Errorf("the log holds %.8s…", secret)
		}
	}
}

// statusIs asks for a live input until it has a status.
func statusIs(s sdk, input object, want string) func(context.Context) error {
	return func(context.Context) error {
		if got := s.got("streams.liveInputs.get", object{"id": input["id"]}); got["status"] != want {
			return fmt.Errorf("status %v", got["status"])
		}
		return nil
	}
}

// wantChunks checks what a viewer is handed: the init segment first, then media
// with times.
func wantChunks(t *testing.T, w *watcher) {
	t.Helper()
	c := w.next(t)
	if !c.isInit || c.priority != 0 || !bytes.Contains(c.data, []byte("moov")) {
		t.Errorf("the first chunk: init %t, priority %d, want the init segment with priority 0", c.isInit, c.priority)
	}
	for range 5 {
		c := w.next(t)
		at := time.UnixMicro(int64(c.timestamp))
		if c.isInit || c.priority != 1 || !c.stamped || string(c.data[4:8]) != "moof" || time.Since(at).Abs() > time.Minute {
			t.Errorf("a chunk: init %t, priority %d, %.4q, at %v (%t), want media of now with priority 1", c.isInit, c.priority, c.data[4:8], at, c.stamped)
		}
	}
}

// wantCatalog reads .catalog as the contract's viewers do, and the first object
// of a track that it names.
func wantCatalog(t *testing.T, m *moq, ns ...string) {
	t.Helper()
	first := func(name string) track.Object {
		sub, err := m.subscribe(t, name, ns...)
		if err != nil {
			t.Fatalf("subscribe to %s: %v", name, err)
		}
		defer sub.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		// Object 0 may be overtaken, because it is on a stream of its own: each
		// group has it, so that it is there in the next one.
		for r := sub.Track().NewReader(track.CurrentGroup); ; {
			g, err := r.NextGroup(ctx)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for o, err := g.Next(ctx); err == nil; o, err = g.Next(ctx) {
				if o.ID == 0 {
					return o
				}
			}
		}
	}
	var catalog struct {
		Version int
		Live    bool
		Tracks  []struct {
			Name, Kind, Codec, MimeType string
			Width, Height, Bitrate      float64
			SampleRate, Channels        float64
		}
	}
	if err := json.Unmarshal(first(".catalog").Payload, &catalog); err != nil {
		t.Fatalf(".catalog: %v", err)
	}
	if catalog.Version != 1 || !catalog.Live {
		t.Errorf("version %d, live %t, want 1 and true", catalog.Version, catalog.Live)
	}
	kinds := make(map[string]bool)
	for _, c := range catalog.Tracks {
		if c.Kind == "" || kinds[c.Kind] {
			continue // what our own players take of the same document
		}
		kinds[c.Kind] = true
		switch {
		case c.Kind == "video" && (!strings.HasPrefix(c.Codec, "avc1.") || c.Width != 320 || c.Height != 180),
			c.Kind == "audio" && (!strings.HasPrefix(c.Codec, "mp4a.40") || c.SampleRate != 48_000 || c.Channels != 2):
			t.Errorf("track %+v", c)
		}
		if o := first(c.Name); !bytes.Contains(o.Payload, []byte("moov")) || o.Priority != 0 {
			t.Errorf("track %s begins with %.8q of priority %d, want the init segment of 0", c.Name, o.Payload, o.Priority)
		}
	}
	if !kinds["video"] || !kinds["audio"] {
		t.Errorf("the catalog has tracks of the kinds %v, want video and audio", kinds)
	}
}

// refusedViews tries the tokens that must not count: all are auth_failed, never
// network.
func refusedViews(t *testing.T, d *harness.Daemon, s sdk, input object, url string) {
	t.Helper()
	lv := text(input, "external_input_id")
	other := s.row("streams.liveInputs.create", object{"name": "Other"})
	foreign := text(s.row("streams.liveInputs.mintPlaybackToken", object{"id": other["id"]}), "token")
	head, sig, _ := strings.Cut(url, ".ey")
	base := "://" + d.MoQ + "/playback/" + lv
	for what, target := range map[string]string{
		"no token": "moq" + base, "no token over WebTransport": "https" + base,
		"another input's token": "moq" + base + "?tok=" + foreign, "a tampered token": head + ".ez" + sig,
		"no JWT": "https" + base + "?tok=nonsense",
	} {
		w, err := watch(t, d, target, "playback", lv)
		if err == nil {
			err = <-w.ended
		}
		if got := closeReason(err); got != "auth_failed" {
			t.Errorf("%s: %s (%v), want auth_failed", what, got, err)
		}
	}
}

// wantFigures looks at the Prometheus export and at the session of an input that
// somebody watches.
func wantFigures(t *testing.T, s sdk, lv string) {
	t.Helper()
	harness.Eventually(t, 15*time.Second, "figures of "+lv, func(context.Context) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/api/v1/streaming/analytics/prometheus?period=1min&streamId="+lv, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", s.key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		for _, name := range []string{"received_bytes_total", "frames_total", "bandwidth_bytes_per_second", "viewers", "quality_score"} {
			sample := regexp.MustCompile(`(?m)^broadcastd_streaming_` + name + `\{org="org_abc",protocol="moqt",stream="` + lv + `"\} [0-9.e+]*[1-9]`)
			if !sample.Match(text) {
				return fmt.Errorf("%s is not above zero", name)
			}
		}
		status, list := s.rest("GET", "/streaming/sessions?protocol=moqt&streamId="+lv, nil)
		rows, _ := list["sessions"].([]any)
		if status != 200 || len(rows) != 1 {
			return fmt.Errorf("sessions: %d %v", status, list)
		}
		row, _ := rows[0].(object)
		metrics, _ := row["metrics"].(object)
		video, _ := metrics["video"].(object)
		if row["status"] != "live" || row["viewers"] != 2.0 || video["width"] != 320.0 || video["height"] != 180.0 {
			return fmt.Errorf("session %v", row)
		}
		return nil
	})
}
