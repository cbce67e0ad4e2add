package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/internal/api"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
)

// A server is the real API on a store in memory.
type server struct {
	*httptest.Server
	handler *api.Handler
}

func serve(tb testing.TB) *server {
	tb.Helper()
	h, err := api.New(api.Config{
		Control: controltest.Open(tb, control.Config{PublicRelay: "moq://relay.example:4443"}), Version: "1.2.3",
		MoQURL: func(*http.Request) string { return "https://relay.example:4443" },
		Publish: func(_ *http.Request, id string) map[string]string {
			return map[string]string{"fmp4": "https://live.example/ingest/" + id, "rtmp": "rtmp://live.example/live/" + id}
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	s := &server{httptest.NewServer(h), h}
	tb.Cleanup(func() {
		h.Close()
		s.CloseClientConnections()
		s.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return s
}

// client returns a client with a key.
func (s *server) client(tb testing.TB, key string) *client.Client {
	tb.Helper()
	c, err := client.New(client.Config{URL: s.URL, Key: key, Retries: -1})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func must[T any](tb testing.TB) func(T, error) T {
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func TestLiveInputs(t *testing.T) {
	c, ctx := serve(t).client(t, controltest.AdminKey), t.Context()
	made := must[client.LiveInputWithSecret](t)(c.LiveInputs.Create(ctx, client.NewLiveInput{
		Name: "Studio", Ingest: client.RTMP,
		Settings: &client.InputSettings{AllowFrom: []string{"192.0.2.0/24"}, Takeover: "refuse", GroupDurationMs: 2000},
	}))
	if made.StreamKey == "" || made.Ingest != client.RTMP || made.Status != client.InputIdle || made.Namespace != "stream/local/"+made.ExternalID ||
		made.Settings.Takeover != "refuse" || made.Publish["rtmp"] == "" || made.Publish["fmp4"] != "" || made.ETag == "" || time.Since(made.CreatedAt) > time.Minute {
		t.Errorf("created %+v", made)
	}
	for _, id := range []string{made.ID, made.ExternalID} {
		if got := must[client.LiveInput](t)(c.LiveInputs.Get(ctx, id)); got.ID != made.ID || got.ETag != made.ETag {
			t.Errorf("Get(%s) = %+v", id, got)
		}
	}
	name, takeover, none := "Studio 2", "", []string{}
	updated := must[client.LiveInput](t)(c.LiveInputs.Update(ctx, made.ID, made.ETag, client.LiveInputPatch{
		Name: &name, Settings: &client.InputSettingsPatch{Takeover: &takeover, AllowFrom: &none},
	}))
	if s := updated.Settings; updated.Name != name || s.Takeover != "" || len(s.AllowFrom) != 0 || s.GroupDurationMs != 2000 {
		t.Errorf("updated %+v", updated)
	}
	if _, err := c.LiveInputs.Update(ctx, made.ID, made.ETag, client.LiveInputPatch{Name: &name}); !errors.Is(err, client.ErrChanged) {
		t.Errorf("an update of what has changed: %v", err)
	}
	rotated := must[client.LiveInputWithSecret](t)(c.LiveInputs.RotateKey(ctx, made.ID))
	if rotated.StreamKey == "" || rotated.StreamKey == made.StreamKey {
		t.Errorf("rotated to %q", rotated.StreamKey)
	}
	phrase := must[client.LiveInputWithSecret](t)(c.LiveInputs.RotatePassphrase(ctx, made.ID))
	if len(phrase.Passphrase) < 10 {
		t.Errorf("passphrase %q", phrase.Passphrase)
	}
	must[client.LiveInput](t)(c.LiveInputs.SetPassphrase(ctx, made.ID, "correct horse"))
	must[client.LiveInput](t)(c.LiveInputs.SetPassphrase(ctx, made.ID, ""))
	if _, err := c.LiveInputs.SetPassphrase(ctx, made.ID, "short"); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("a short passphrase: %v", err)
	}
	for range 4 {
		must[client.LiveInputWithSecret](t)(c.LiveInputs.Create(ctx, client.NewLiveInput{Name: "more"}))
	}
	n := 0
	for in, err := range client.All(ctx, c.LiveInputs.List, client.Page{Limit: 2}) {
		if n++; err != nil || n == 1 && in.ID != made.ID {
			t.Fatalf("item %d is %v, %v", n, in.ID, err)
		}
	}
	if n != 5 {
		t.Errorf("listed %d, want 5", n)
	}
	if err := c.LiveInputs.Delete(ctx, made.ExternalID); err != nil {
		t.Error(err)
	}
	if _, err := c.LiveInputs.Get(ctx, made.ID); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("after its deletion: %v", err)
	}
	_, err := c.LiveInputs.Create(ctx, client.NewLiveInput{Name: "x", Ingest: "carrier pigeon"})
	if e, ok := errors.AsType[*client.Error](err); !ok || !errors.Is(err, client.ErrInvalid) || e.Field != "body.ingest" {
		t.Errorf("a wrong protocol: %v", err)
	}
}

func TestPlayback(t *testing.T) {
	c, ctx := serve(t).client(t, controltest.AdminKey), t.Context()
	made := must[client.LiveInputWithSecret](t)(c.LiveInputs.Create(ctx, client.NewLiveInput{Name: "Studio"}))
	key := must[client.SigningKey](t)(c.SigningKeys.Create(ctx, client.NewSigningKey{Alg: "RS256"}))
	u := must[client.PlaybackURL](t)(c.LiveInputs.PlaybackURL(ctx, made.ID, client.PlaybackOptions{TTL: 90 * time.Second, KeyID: key.ID, Viewer: "ann"}))
	if want := "moq://relay.example:4443/playback/" + made.ExternalID + "?tok=" + u.Token; u.URL != want || u.KeyID != key.ID || u.Alg != "RS256" {
		t.Errorf("got %+v, want the URL %s", u, want)
	}
	if left := time.Until(u.ExpiresAt); left < 80*time.Second || left > 91*time.Second {
		t.Errorf("it expires in %v, want 90 s", left)
	}
	cam := must[client.PlaybackURL](t)(c.Broadcasts.PlaybackURL(ctx, "stream/local/cam", client.PlaybackOptions{TTL: 7 * 24 * time.Hour}))
	if left := time.Until(cam.ExpiresAt); cam.Namespace != "stream/local/cam" || left < 6*24*time.Hour {
		t.Errorf("%+v expires in %v, want a week", cam, left)
	}
	brief := must[client.PlaybackURL](t)(c.Broadcasts.PlaybackURL(ctx, "stream/local/cam", client.PlaybackOptions{TTL: time.Nanosecond}))
	if left := time.Until(brief.ExpiresAt); left > time.Second {
		t.Errorf("a URL for a nanosecond expires in %v", left)
	}
	p := must[client.Playback](t)(c.Broadcasts.Playback(ctx, made.ExternalID, ""))
	if p.Type != "live" || p.RelayURL != "https://relay.example:4443" || p.Namespace != made.Namespace {
		t.Errorf("playback %+v", p)
	}
	if _, err := c.Broadcasts.Playback(ctx, "lv_none", ""); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("playback of nothing: %v", err)
	}
	if l := must[[]client.Broadcast](t)(c.Broadcasts.List(ctx)); len(l) != 0 {
		t.Errorf("broadcasts %v", l)
	}
	if _, err := c.Analytics.Relay(ctx); !errors.Is(err, client.ErrServer) {
		t.Errorf("figures without a server: %v", err)
	}
}

func TestKeys(t *testing.T) {
	s := serve(t)
	c, ctx := s.client(t, controltest.AdminKey), t.Context()

	key := must[client.SigningKey](t)(c.SigningKeys.Create(ctx, client.NewSigningKey{}))
	if key.Alg != "Ed25519" || key.Status != "active" || key.PublicKeyPEM == "" {
		t.Errorf("signing key %+v", key)
	}
	if got := must[client.SigningKey](t)(c.SigningKeys.Deactivate(ctx, key.ID)); got.Status != "inactive" {
		t.Errorf("deactivated %+v", got)
	}
	if got := must[client.SigningKey](t)(c.SigningKeys.Get(ctx, key.ID)); got.Status != "inactive" {
		t.Errorf("got %+v", got)
	}
	if l := must[client.List[client.SigningKey]](t)(c.SigningKeys.List(ctx, client.Page{})); len(l.Items) != 2 { // with the one from the start
		t.Errorf("signing keys %+v", l)
	}

	stream := must[client.StreamKey](t)(c.StreamKeys.Create(ctx, "stream/local/cam"))
	if stream.Key == "" {
		t.Errorf("stream key %+v", stream)
	}
	if err := c.StreamKeys.Revoke(ctx, stream.ID); err != nil {
		t.Error(err)
	}
	if l := must[client.List[client.StreamKey]](t)(c.StreamKeys.List(ctx, client.Page{})); len(l.Items) != 1 || l.Items[0].RevokedAt.IsZero() || l.Items[0].Key != "" {
		t.Errorf("stream keys %+v", l)
	}

	ak := must[client.APIKey](t)(c.APIKeys.Create(ctx, client.NewAPIKey{Name: "reader", Scopes: []string{"streams:read"}, ExpiresAt: time.Now().Add(time.Hour)}))
	reader := s.client(t, ak.Key)
	must[client.List[client.LiveInput]](t)(reader.LiveInputs.List(ctx, client.Page{}))
	if _, err := reader.LiveInputs.Create(ctx, client.NewLiveInput{Name: "x"}); !errors.Is(err, client.ErrForbidden) {
		t.Errorf("a reader creates: %v", err)
	}
	if got := must[client.APIKey](t)(c.APIKeys.Get(ctx, ak.ID)); got.Key != "" || !slices.Equal(got.Scopes, []string{"streams:read"}) {
		t.Errorf("API key %+v", got)
	}
	if err := c.APIKeys.Revoke(ctx, ak.ID); err != nil {
		t.Error(err)
	}
	if _, err := reader.LiveInputs.List(ctx, client.Page{}); !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("with a revoked key: %v", err)
	}
	if l := must[client.List[client.APIKey]](t)(c.APIKeys.List(ctx, client.Page{})); len(l.Items) != 1 || l.Items[0].RevokedAt.IsZero() {
		t.Errorf("API keys %+v", l)
	}
}

func TestSessions(t *testing.T) {
	c, ctx := serve(t).client(t, controltest.AdminKey), t.Context()
	made := must[client.Session](t)(c.Sessions.Create(ctx, client.NewSession{
		Input: "cam", Protocol: "rtmp", Metadata: map[string]any{"title": "News", "draft": true},
		Constraints: &client.Constraints{Video: client.VideoConstraints{Height: 720}},
	}))
	if made.Status != client.SessionIdle || made.Namespace != "stream/local/cam" || made.Constraints.Video.Height != 720 {
		t.Errorf("created %+v", made)
	}
	rate := 2500
	got := must[client.Session](t)(c.Sessions.Update(ctx, made.ID, made.ETag, client.SessionPatch{
		Quality: &client.QualityPatch{MaxBitrate: &rate}, Metadata: map[string]any{"draft": nil, "part": 2},
	}))
	if fmt.Sprint(got.Metadata) != "map[part:2 title:News]" || got.Quality.MaxBitrate != rate {
		t.Errorf("updated %+v", got)
	}
	if _, err := c.Sessions.Update(ctx, made.ID, "", client.SessionPatch{Status: client.SessionPaused}); err == nil {
		t.Error("an idle session can be paused")
	}
	if l := must[client.List[client.Session]](t)(c.Sessions.List(ctx, client.SessionFilter{Input: "cam", Status: client.SessionIdle}, client.Page{})); len(l.Items) != 1 {
		t.Errorf("sessions %+v", l)
	}
	if got := must[client.Session](t)(c.Sessions.Update(ctx, made.ID, "", client.SessionPatch{Status: client.SessionEnded})); got.Status != client.SessionEnded {
		t.Errorf("ended %+v", got)
	}
	if err := c.Sessions.Delete(ctx, made.ID); err != nil {
		t.Error(err)
	}
	if _, err := c.Sessions.Get(ctx, made.ID); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("after its deletion: %v", err)
	}
}

func TestOrgs(t *testing.T) {
	s := serve(t)
	c, ctx := s.client(t, controltest.AdminKey), t.Context()
	must[client.Org](t)(c.Orgs.Create(ctx, "org_abc"))
	if l := must[client.List[client.Org]](t)(c.Orgs.List(ctx, client.Page{})); len(l.Items) != 2 {
		t.Errorf("organisations %+v", l)
	}
	abc, err := client.New(client.Config{URL: s.URL, Key: controltest.AdminKey, Org: "org_abc"})
	if err != nil {
		t.Fatal(err)
	}
	if in := must[client.LiveInputWithSecret](t)(abc.LiveInputs.Create(ctx, client.NewLiveInput{Name: "x"})); in.Org != "org_abc" {
		t.Errorf("input %+v", in)
	}
	if l := must[client.List[client.LiveInput]](t)(c.LiveInputs.List(ctx, client.Page{})); len(l.Items) != 0 {
		t.Errorf("local has %+v", l)
	}
	if v, err := c.Version(ctx); v != "1.2.3" || err != nil {
		t.Errorf("Version() = %q, %v", v, err)
	}
}

// lossy loses the answers to the first requests, which the server has carried
// out.
type lossy struct{ left atomic.Int32 }

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && l.left.Add(-1) >= 0 {
		res.Body.Close()
		return nil, errors.New("the answer is lost")
	}
	return res, err
}

// A create whose answer was lost is repeated, and makes one thing only.
func TestCreateOnce(t *testing.T) {
	s, l := serve(t), &lossy{}
	l.left.Store(2)
	c, err := client.New(client.Config{URL: s.URL, Key: controltest.AdminKey, HTTPClient: &http.Client{Transport: l}})
	if err != nil {
		t.Fatal(err)
	}
	made := must[client.LiveInputWithSecret](t)(c.LiveInputs.Create(t.Context(), client.NewLiveInput{Name: "once"}))
	if list := must[client.List[client.LiveInput]](t)(c.LiveInputs.List(t.Context(), client.Page{})); len(list.Items) != 1 || list.Items[0].ID != made.ID {
		t.Errorf("made %s, and there are %+v", made.ID, list.Items)
	}
}

// The events of the real server go on where they broke off.
func TestFollow(t *testing.T) {
	s := serve(t)
	c, err := client.New(client.Config{URL: s.URL, Key: controltest.AdminKey})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	var got []string
	var last uint64
	for e, err := range c.Events.Follow(ctx, client.EventOptions{Latest: false}) {
		if err != nil {
			if !errors.Is(err, enough) {
				t.Fatal(err)
			}
			break
		}
		if e.Seq <= last {
			t.Errorf("event %d follows %d", e.Seq, last)
		}
		last = e.Seq
		if e.Type != "input.created" {
			if len(got) == 0 { // of what is there from the start
				must[client.LiveInputWithSecret](t)(c.LiveInputs.Create(ctx, client.NewLiveInput{Name: "a"}))
				got = append(got, "")
			}
			continue
		}
		switch got = append(got, fmt.Sprint(e.Data["name"])); len(got) {
		case 2:
			s.CloseClientConnections()
			must[client.LiveInputWithSecret](t)(c.LiveInputs.Create(ctx, client.NewLiveInput{Name: "b"}))
		case 3:
			cancel(enough)
		}
	}
	if fmt.Sprint(got) != "[ a b]" {
		t.Errorf("got %q", got)
	}
}
