package control_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
)

func wantCode(t *testing.T, what string, err error, want control.Code) {
	t.Helper()
	if got := control.CodeOf(err); got != want || want == 0 && err != nil {
		t.Errorf("%s: %v (code %d), want code %d", what, err, got, want)
	}
}

func newInput(t *testing.T, s *control.Service, set control.InputSettings) (control.LiveInput, string) {
	t.Helper()
	in, key, err := s.CreateInput(t.Context(), control.NewInput{Org: control.LocalOrg, Name: "cam", Settings: set})
	if err != nil {
		t.Fatal(err)
	}
	return in, key
}

func TestAuthenticate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := controltest.New(t), t.Context()
		makeKey := func(expires time.Time) (control.APIKey, string) {
			k, text, err := s.CreateAPIKey(ctx, control.NewAPIKey{
				Name: "k", Orgs: []string{"local"}, Scopes: []control.Scope{"streams:*"}, Expires: expires,
			})
			if err != nil {
				t.Fatal(err)
			}
			return k, text
		}
		good, goodText := makeKey(time.Time{})
		revoked, revokedText := makeKey(time.Time{})
		if _, err := s.RevokeAPIKey(ctx, revoked.ID); err != nil {
			t.Fatal(err)
		}
		_, expiring := makeKey(time.Now().Add(time.Hour))
		if _, err := s.Authenticate(ctx, expiring); err != nil {
			t.Errorf("a key before its end: %v", err)
		}
		time.Sleep(time.Hour)

		if p, err := s.Authenticate(ctx, controltest.AdminKey); err != nil || !p.Admin {
			t.Errorf("admin key: %+v, %v", p, err)
		}
		p, err := s.Authenticate(ctx, goodText)
		if err != nil || p.Admin || p.KeyID != good.ID || p.May(control.StreamsWrite, "local") != nil {
			t.Errorf("API key: %+v, %v", p, err)
		}
		if k, err := s.APIKey(ctx, good.ID); err != nil || !k.LastUsed.Equal(time.Now().Truncate(time.Millisecond)) {
			t.Errorf("last used at %v, %v", k.LastUsed, err)
		}
		texts := make(map[string]bool)
		for name, text := range map[string]string{
			"revoked": revokedText, "expired": expiring, "secret cut": goodText[:len(goodText)-1], "secret longer": goodText + "a",
			"no prefix": goodText[4:], "no secret": strings.TrimRight(goodText[:27], "_"), "another id": "tqs_live_x_" + goodText[27:],
			"nonsense": "x", "huge": strings.Repeat("x", 1<<20), "admin, cut": controltest.AdminKey[1:], "stream key": "sk_live_a_b",
			"case": strings.ToUpper(goodText),
		} {
			_, err := s.Authenticate(ctx, text)
			wantCode(t, name, err, control.Unauthenticated)
			texts[fmt.Sprint(err)] = true
		}
		if len(texts) != 1 {
			t.Errorf("who guesses can tell: %v", texts)
		}
		_, err = s.Authenticate(ctx, "")
		wantCode(t, "nothing", err, control.Unauthenticated)
	})
	noAdmin := controltest.Open(t, control.Config{Store: memstore.New(nil), AdminKey: "another-admin-key"})
	_, err := noAdmin.Authenticate(t.Context(), controltest.AdminKey)
	wantCode(t, "the admin key of another", err, control.Unauthenticated)
}

func TestMay(t *testing.T) {
	for _, tt := range []struct {
		scopes string
		scope  control.Scope
		org    string
		ok     bool
	}{
		{"streams:read", control.StreamsRead, "a", true},
		{"streams:read", control.StreamsWrite, "a", false},
		{"streams:write", control.StreamsRead, "a", true},
		{"streams:*", control.StreamsWrite, "a", true},
		{"streams:*", control.SessionsRead, "a", false},
		{"*", control.KeysWrite, "a", true},
		{"*", control.KeysWrite, "ab", false},
		{"*", control.KeysWrite, "", true},
		{"stream:*", control.StreamsRead, "a", false},
		{"streams", control.StreamsRead, "a", false},
		{"", control.StreamsRead, "a", false},
		{"keys:read sessions:write", control.SessionsRead, "a", true},
	} {
		p := control.Principal{Orgs: []string{"a"}}
		for s := range strings.FieldsSeq(tt.scopes) {
			p.Scopes = append(p.Scopes, control.Scope(s))
		}
		if err := p.May(tt.scope, tt.org); (err == nil) != tt.ok {
			t.Errorf("%q may %s in %q: %v, want %t", tt.scopes, tt.scope, tt.org, err, tt.ok)
		}
	}
	if err := (control.Principal{}).May(control.StreamsRead, ""); control.CodeOf(err) != control.Forbidden {
		t.Errorf("nobody may: %v", err)
	}
	p := control.Principal{Orgs: []string{"a"}, Scopes: []control.Scope{"streams:write", "keys:*"}}
	for _, tt := range []struct {
		org   string
		scope control.Scope
		ok    bool
	}{
		{"a", "streams:write", true},
		{"a", "streams:read", true},
		{"a", "streams:*", false},
		{"a", "keys:*", true},
		{"a", "*", false},
		{"b", "keys:read", false},
		{"*", "keys:read", false},
	} {
		if err := p.MayGrant(control.NewAPIKey{Orgs: []string{tt.org}, Scopes: []control.Scope{tt.scope}}); (err == nil) != tt.ok {
			t.Errorf("may grant %s in %s: %v, want %t", tt.scope, tt.org, err, tt.ok)
		}
	}
}

func TestOrgs(t *testing.T) {
	s, ctx := controltest.New(t), t.Context()
	if err := s.EnsureOrg(ctx, controltest.Admin, "org_abc"); err != nil {
		t.Fatal(err)
	}
	keys, err := s.SigningKeys(ctx, "org_abc", control.Page{})
	if err != nil || len(keys.Items) != 1 || keys.Items[0].Status != control.KeyActive {
		t.Errorf("signing keys of a new organisation: %+v, %v, want one", keys, err)
	}
	own := control.Principal{Orgs: []string{"org_abc", "org_new"}, Scopes: []control.Scope{"*"}}
	for org, want := range map[string]control.Code{"org_abc": 0, "org_new": control.NotFound, "local": control.Forbidden, "../x": control.Invalid, "": control.Invalid} {
		wantCode(t, "EnsureOrg "+org, s.EnsureOrg(ctx, own, org), want)
	}
	list, err := s.Orgs(ctx, control.Page{})
	if err != nil || len(list.Items) != 2 || list.Items[0].ID != "local" {
		t.Errorf("Orgs = %+v, %v", list, err)
	}
}

func TestPlaybackToken(t *testing.T) {
	s, ctx := controltest.Open(t, control.Config{PublicRelay: "moq://relay.example:4443"}), t.Context()
	in, _ := newInput(t, s, control.InputSettings{})
	gate, err := auth.NewGate(auth.Config{Directory: s.Directory()})
	if err != nil {
		t.Fatal(err)
	}
	rsa, err := s.CreateSigningKey(ctx, "local", auth.RS256)
	if err != nil {
		t.Fatal(err)
	}
	plays := func(token, external string) error {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/?tok="+token, nil)
		a, err := gate.Play(r, []string{"stream", "local", external})
		if err == nil {
			a.Close()
		}
		return err
	}
	for _, target := range []string{in.ID, in.External, "stream/local/" + in.External} {
		token, err := s.MintPlaybackToken(ctx, target, control.TokenOptions{Viewer: "v", MaxHeight: 720})
		if err != nil || token.KeyID != rsa.ID || token.Alg != auth.RS256 || token.External != in.External {
			t.Fatalf("MintPlaybackToken(%s) = %+v, %v, want one of the newest key", target, token, err)
		}
		if want := "moq://relay.example:4443/playback/" + in.External + "?tok=" + token.Token; token.URL != want {
			t.Errorf("URL %s, want %s", token.URL, want)
		}
		if d := time.Until(token.Expires); d > time.Hour || d < time.Hour-10*time.Second {
			t.Errorf("good for %v, want an hour", d)
		}
		if err := plays(token.Token, in.External); err != nil {
			t.Errorf("the token of %s: %v", target, err)
		}
		if err := plays(token.Token, "other"); auth.CodeOf(err) != auth.CodeWrongInput {
			t.Errorf("the token on another stream: %v", err)
		}
	}
	token, err := s.MintPlaybackToken(ctx, in.ID, control.TokenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RevokeToken(ctx, "local", token.ID, token.Expires); err != nil {
		t.Fatal(err)
	}
	if err := plays(token.Token, in.External); auth.CodeOf(err) != auth.CodeRevoked {
		t.Errorf("a token that was taken back: %v", err)
	}
	if _, err := s.DeactivateSigningKey(ctx, rsa.ID); err != nil {
		t.Fatal(err)
	}
	_, err = s.MintPlaybackToken(ctx, in.ID, control.TokenOptions{KeyID: rsa.ID})
	wantCode(t, "a token of an inactive key", err, control.Conflict)
	next, err := s.MintPlaybackToken(ctx, in.ID, control.TokenOptions{})
	if err != nil || next.Alg != auth.Ed25519 || plays(next.Token, in.External) != nil {
		t.Errorf("after the deactivation: %+v, %v", next, err)
	}
	if jwks := string(s.JWKS()); strings.Contains(jwks, rsa.ID) || !strings.Contains(jwks, next.KeyID) {
		t.Errorf("JWKS %s", jwks)
	}
	for name, opt := range map[string]control.TokenOptions{
		"too long": {TTL: control.MaxTTL + 1}, "negative": {TTL: -1}, "height": {MaxHeight: -1}, "ip": {IP: "everywhere"}, "viewer": {Viewer: "a\nb"},
	} {
		_, err := s.MintPlaybackToken(ctx, in.ID, opt)
		wantCode(t, name, err, control.Invalid)
	}
	for target, want := range map[string]control.Code{"lv_none": control.NotFound, "stream/nobody/x": control.NotFound, "stream/local/..": control.Invalid, "x/y": control.Invalid} {
		_, err := s.MintPlaybackToken(ctx, target, control.TokenOptions{})
		wantCode(t, target, err, want)
	}
	if err := s.EnsureOrg(ctx, controltest.Admin, "other"); err != nil {
		t.Fatal(err)
	}
	others, err := s.SigningKeys(ctx, "other", control.Page{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.MintPlaybackToken(ctx, in.ID, control.TokenOptions{KeyID: others.Items[0].ID})
	wantCode(t, "a key of another organisation", err, control.NotFound)
}

func TestLimits(t *testing.T) {
	s, ctx := controltest.Open(t, control.Config{Limits: control.Limits{
		Orgs: 2, Inputs: 3, APIKeys: 3, StreamKeys: 3, SigningKeys: 3, Sessions: 3,
	}}), t.Context()
	for name, make := range map[string]func(i int) error{
		"orgs": func(i int) error { return s.EnsureOrg(ctx, controltest.Admin, fmt.Sprint("o", i)) },
		"inputs": func(int) error {
			_, _, err := s.CreateInput(ctx, control.NewInput{Org: "local", Name: "x"})
			return err
		},
		"API keys": func(int) error {
			_, _, err := s.CreateAPIKey(ctx, control.NewAPIKey{Name: "x", Orgs: []string{"*"}, Scopes: []control.Scope{"*"}})
			return err
		},
		"stream keys": func(int) error {
			_, _, err := s.CreateStreamKey(ctx, "stream/local/x")
			return err
		},
		"signing keys": func(int) error {
			_, err := s.CreateSigningKey(ctx, "local", "")
			return err
		},
		"live sessions": func(i int) error {
			_, err := s.SessionStarted(ctx, fmt.Sprint("cam", i), auth.RTMP)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[string]int{"orgs": 1, "signing keys": 2}[name] // one is there
			if want == 0 {
				want = 3
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			made := 0
			for i := range 10 {
				wg.Go(func() {
					err := make(i)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						made++
					} else if control.CodeOf(err) != control.Exhausted {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if made != want {
				t.Errorf("%d were made, want %d", made, want)
			}
		})
	}
}

func TestPages(t *testing.T) {
	s, ctx := controltest.New(t), t.Context()
	for range 7 {
		newInput(t, s, control.InputSettings{})
	}
	all, err := s.Inputs(ctx, "local", control.Page{})
	if err != nil || len(all.Items) != 7 || all.Next != "" {
		t.Fatalf("Inputs = %+v, %v", all, err)
	}
	var want []string
	for _, in := range all.Items {
		want = append(want, in.ID)
	}
	var got []string
	page := control.Page{Limit: 3}
	for n := 0; ; n++ {
		l, err := s.Inputs(ctx, "local", page)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range l.Items {
			got = append(got, in.ID)
		}
		if l.Next == "" {
			break
		}
		page.After = l.Next
		if n == 0 { // the item that the cursor names goes
			if err := s.DeleteInput(ctx, got[2], 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages %v, want %v", got, want)
	}
	for _, bad := range []control.Page{{Limit: -1}, {Limit: 501}, {After: "nonsense"}, {After: "x.y"}, {After: strings.Repeat("0", 1000) + ".a"}} {
		_, err := s.Inputs(ctx, "local", bad)
		wantCode(t, fmt.Sprintf("%.40v", bad), err, control.Invalid)
	}
}

func TestEvents(t *testing.T) {
	s, ctx := controltest.Open(t, control.Config{Limits: control.Limits{Events: 5}}), t.Context()
	last := s.LastEvent()
	waited := make(chan error, 1)
	go func() { waited <- s.WaitEvents(ctx, last) }()
	in, _ := newInput(t, s, control.InputSettings{})
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if err := s.EnsureOrg(ctx, controltest.Admin, "other"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Events(ctx, "local", last, 0)
	if err != nil || len(got.Items) != 1 || got.Items[0].Type != "input.created" || got.Items[0].Input != in.External || got.Lost {
		t.Errorf("Events of local = %+v, %v", got, err)
	}
	if got.Next != s.LastEvent() || got.Next == got.Items[0].Seq {
		t.Errorf("Events go on at %d, want %d, past those of others", got.Next, s.LastEvent())
	}
	all, err := s.Events(ctx, "", 0, 2)
	if err != nil || len(all.Items) != 2 || all.Next != 2 {
		t.Errorf("Events of all = %+v, %v", all, err)
	}
	if got, err := s.Events(ctx, "", s.LastEvent()+100, 0); err != nil || !got.Lost {
		t.Errorf("Events from a log that is another's = %+v, %v, want Lost", got, err)
	}
	ended, end := context.WithCancelCause(ctx)
	enough := errors.New("enough")
	end(enough)
	if err := s.WaitEvents(ended, s.LastEvent()); !errors.Is(err, enough) {
		t.Errorf("WaitEvents = %v", err)
	}
	wantCode(t, "a huge event", s.Emit(ctx, control.Event{Type: "x", Data: map[string]any{"a": strings.Repeat("x", 20_000)}}), control.Exhausted)
}

// TestTidy: in time the log of events is cut, and keys that counted long ago go.
func TestTidy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := controltest.Open(t, control.Config{Limits: control.Limits{Events: 3, KeepRevoked: time.Hour}}), t.Context()
		k, text, err := s.CreateAPIKey(ctx, control.NewAPIKey{Name: "k", Orgs: []string{"local"}, Scopes: []control.Scope{"*"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Authenticate(ctx, text); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			newInput(t, s, control.InputSettings{})
		}
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if got, err := s.Events(ctx, "", 1, 0); err != nil || len(got.Items) != 3 || !got.Lost {
			t.Errorf("Events = %d, %v, lost %t, want the last 3", len(got.Items), err, got.Lost)
		}
		if got, err := s.APIKey(ctx, k.ID); err != nil || got.Revision == k.Revision {
			t.Errorf("when the key was last used is not kept: %+v, %v", got, err)
		}
		if _, err := s.RevokeAPIKey(ctx, k.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(62 * time.Minute)
		synctest.Wait()
		_, err = s.APIKey(ctx, k.ID)
		wantCode(t, "a key revoked long ago", err, control.NotFound)
	})
}
