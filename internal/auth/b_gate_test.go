package auth

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// request1 is an HTTP request that shows a credential, if it is not empty.
func request1(from netip.AddrPort, path, credential string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	r.RemoteAddr = from.String()
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	return r
}

var far = netip.MustParseAddrPort("192.0.2.7:5000")

// What is taken back ends what it let in, as soon as the Directory tells.
func TestB13_Revocation(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*Gate, *book, string)
	}{
		{"the signing key is deactivated", func(_ *Gate, b *book, _ string) { b.deactivate("ed") }},
		{"the signing key is deleted", func(_ *Gate, b *book, _ string) {
			b.change(Change{Kind: ChangedSigningKey, Deleted: true}, func() { delete(b.signing, "ed") })
		}},
		{"the token is revoked", func(_ *Gate, b *book, _ string) {
			b.change(Change{Kind: ChangedToken, ID: "jti1"}, func() { b.revoked["local/jti1"] = true })
		}},
		{"nobody tells of it", func(_ *Gate, b *book, _ string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.revoked["local/jti1"] = true
		}},
		{"the viewer is thrown out", func(g *Gate, _ *book, _ string) {
			if n := g.Disconnect(Selector{Viewer: "v1"}, "thrown out"); n != 2 {
				panic(fmt.Sprint(n, " grants ended, want 2"))
			}
		}},
		{"the stream key is rotated", func(_ *Gate, b *book, id string) {
			b.change(Change{Kind: ChangedStreamKey, ID: id}, func() { delete(b.stream, id) })
		}},
		{"the stream key has another secret", func(_ *Gate, b *book, id string) {
			b.change(Change{Kind: ChangedStreamKey, ID: id}, func() {
				k := b.stream[id]
				k.Hash = HashSecret(pepper, "another")
				b.stream[id] = k
			})
		}},
		{"the live input is deleted", func(_ *Gate, b *book, _ string) {
			b.change(Change{Kind: ChangedInput, Deleted: true}, func() { delete(b.inputs, "lv_1") })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBook()
				b.sign("ed", "", Ed25519)
				b.sign("other", "", Ed25519)
				b.input("lv_1", "local", FMP4, Policy{})
				sk, id := b.key("lv_1", "stream", "local", "lv_1")
				g := openGate(t, Config{Directory: b})
				tok := func(kid, jti, viewer string) string {
					return b.token(t, kid, func(c *Claims) { c.ID, c.Viewer, c.NS = jti, viewer, []string{"playback/lv_1"} })
				}
				publisher := strings.HasPrefix(tt.name, "the stream key") || strings.HasPrefix(tt.name, "the live input")
				ends, stays := tok("ed", "jti1", "v1"), tok("other", "jti2", "v2")
				if publisher {
					ends = sk
				}
				session, err := g.Session(far.String(), "/?tok="+stays, []string{})
				if err != nil {
					t.Fatal(err)
				}
				defer session.Close()
				pass, err := g.Session(far.String(), "/", []string{ends})
				if err != nil {
					t.Fatal(err)
				}
				defer pass.Close()
				play, err := g.Play(request1(far, "/hls/lv_1/index.m3u8", ends), []string{"playback", "lv_1"})
				if err != nil {
					t.Fatal(err)
				}
				defer play.Close()
				synctest.Wait() // Run listens
				start := time.Now()
				tt.do(g, b, id)
				<-pass.Context().Done()
				<-play.Context().Done()
				if d := time.Since(start); d > 2*time.Second || d > 0 && tt.name != "nobody tells of it" {
					t.Errorf("they ended after %v", d)
				}
				wantCode(t, context.Cause(pass.Context()), CodeRevoked)
				wantCode(t, context.Cause(play.Context()), CodeRevoked)
				if session.Context().Err() != nil {
					t.Error("it has ended what another credential let in")
				}
				if tt.name == "the viewer is thrown out" {
					return // who may come back
				}
				if again, err := g.Session(far.String(), "/", []string{ends}); CodeOf(err) != CodeRevoked && CodeOf(err) != CodeUnknown {
					again.Close()
					t.Errorf("afterwards: %v, want it refused", err)
				}
			})
		})
	}
}

// Ten thousand viewers of one key: all are told, at once.
func TestB13_ManyViewers(t *testing.T) {
	b := newBook()
	b.sign("ed", "", Ed25519)
	g := openGate(t, Config{Directory: b})
	token := b.token(t, "ed", nil)
	passes := make([]*Pass, 10_000)
	for i := range passes {
		p, err := g.Session(far.String(), "/playback/cam?tok="+token, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		passes[i] = p
	}
	start := time.Now()
	b.deactivate("ed")
	for _, p := range passes {
		<-p.Context().Done()
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("%d viewers were told within %v, want 2 s", len(passes), took)
	} else {
		t.Logf("%d viewers were told within %v", len(passes), took)
	}
}

// Keys overlap: a new one signs while tokens of the old one count.
func TestB14_Rotation(t *testing.T) {
	b := newBook()
	b.sign("old", "local", Ed25519)
	g := openGate(t, Config{Directory: b})
	before := b.token(t, "old", nil)
	b.sign("new", "local", RS256)
	after := b.token(t, "new", nil)
	for name, token := range map[string]string{"old": before, "new": after} {
		if got := try(t, g, token, attempt{}); got != 0 {
			t.Errorf("%s: code %d, want it taken", name, got)
		}
	}
	b.deactivate("old")
	if try(t, g, before, attempt{}) != CodeRevoked || try(t, g, after, attempt{}) != 0 {
		t.Error("the old key counts, or the new one does not")
	}
	b.sign("new", "local", Ed25519) // another key under its id
	if got := try(t, g, after, attempt{}); got != CodeUnknown {
		t.Errorf("a token of the key that had the id before: code %d, want %d", got, CodeUnknown)
	}
}

// One call takes a key away from whoever has stolen it: all that it signed ends,
// also what was not seen yet, and nothing else does.
func TestB15_StolenKey(t *testing.T) {
	b := newBook()
	b.sign("stolen", "local", Ed25519)
	b.sign("other", "local", Ed25519)
	g := openGate(t, Config{Directory: b})
	var held []*Grant
	for _, kid := range []string{"stolen", "stolen", "other"} {
		grant, err := g.check(b.token(t, kid, nil), attempt{})
		if err != nil {
			t.Fatal(err)
		}
		defer grant.Close()
		held = append(held, grant)
	}
	b.deactivate("stolen")
	<-held[0].Context().Done()
	<-held[1].Context().Done()
	if held[2].Context().Err() != nil {
		t.Error("another key's grant has ended too")
	}
	if got := try(t, g, b.token(t, "stolen", nil), attempt{}); got != CodeRevoked {
		t.Errorf("a new token of it: code %d, want %d", got, CodeRevoked)
	}
}

// Whoever guesses learns neither which ids nor which inputs there are.
func TestB16_GuessedStreamKeys(t *testing.T) {
	b := newBook()
	b.input("lv_1", "local", FMP4, Policy{})
	sk, id := b.key("lv_1", "stream", "local", "lv_1")
	revokedKey, revokedID := b.key("lv_1", "stream", "local", "lv_1")
	k := b.stream[revokedID]
	k.Active = false
	b.stream[revokedID] = k
	g := openGate(t, Config{Directory: b})
	_, secret, _ := ParseStreamKey(sk)
	texts := map[string]string{}
	for name, tt := range map[string]struct{ key, input string }{
		"wrong secret":                   {streamKeyPrefix + id + "_" + strings.Repeat("a", 40), "lv_1"},
		"secret of a wrong length":       {streamKeyPrefix + id + "_a", "lv_1"},
		"unknown id":                     {streamKeyPrefix + "other_" + secret, "lv_1"},
		"wrong secret of a revoked key":  {streamKeyPrefix + revokedID + "_a", "lv_1"},
		"unknown input, unknown id":      {streamKeyPrefix + "other_" + secret, "lv_2"},
		"unknown input, wrong secret":    {streamKeyPrefix + id + "_a", "lv_2"},
		"ad-hoc name":                    {streamKeyPrefix + id + "_a", "cam"},
		"hash of a key in place of it":   {streamKeyPrefix + id + "_" + b.stream[id].Hash, "lv_1"},
		"the hash that stands for none":  {streamKeyPrefix + "other_" + noHash, "lv_1"},
		"upper case of the right secret": {streamKeyPrefix + id + "_" + strings.ToUpper(secret), "lv_1"},
	} {
		_, err := g.Publish(t.Context(), PublishRequest{Protocol: RTMP, Remote: far, Name: tt.input, StreamKey: tt.key})
		texts[fmt.Sprint(err)] = name
	}
	if len(texts) != 1 {
		t.Errorf("the answers differ: %v", texts)
	}
	// The right key of another input says as much, whether there is that input or not.
	_, err1 := g.Publish(t.Context(), PublishRequest{Protocol: FMP4, Remote: far, Name: "lv_9", StreamKey: sk})
	b.input("lv_9", "local", FMP4, Policy{})
	_, err2 := g.Publish(t.Context(), PublishRequest{Protocol: FMP4, Remote: far, Name: "lv_9", StreamKey: sk})
	if fmt.Sprint(err1) != fmt.Sprint(err2) || CodeOf(err1) != CodeWrongInput {
		t.Errorf("%v and %v, want the same", err1, err2)
	}
	if got := try(t, g, revokedKey, attempt{}); got != CodeRevoked {
		t.Errorf("a revoked key with its secret: code %d, want %d", got, CodeRevoked)
	}
}

// The time of a check says nothing: medians of what is measured in turns.
func TestB16_Timing(t *testing.T) {
	hash := HashSecret(pepper, "right")
	check := func(secret, hash string) time.Duration {
		start := time.Now()
		for range 8 {
			VerifySecret(pepper, secret, hash)
		}
		return time.Since(start)
	}
	var times [3][]time.Duration
	for range 4000 {
		times[0] = append(times[0], check("wrong", hash))
		times[1] = append(times[1], check("wrong", ""))
		times[2] = append(times[2], check("wrong", hash[:8]+strings.Repeat("0", 56))) // equal at first
	}
	var medians [3]time.Duration
	for i := range times {
		slices.Sort(times[i])
		medians[i] = times[i][len(times[i])/2]
	}
	t.Logf("wrong secret %v, unknown id %v, half right %v, for 8 checks", medians[0], medians[1], medians[2])
	if most, least := slices.Max(medians[:]), slices.Min(medians[:]); float64(most) > 1.3*float64(least) {
		t.Errorf("the medians %v differ by more than noise", medians)
	}
}

// Of a stream key only a keyed hash is kept.
func TestB17_SecretsAtRest(t *testing.T) {
	cleartext, _, secret := NewStreamKey()
	hash := HashSecret(pepper, secret)
	if strings.Contains(hash, secret) || strings.Contains(cleartext, hash) || hash == HashSecret([]byte("another pepper"), secret) {
		t.Errorf("%s is no keyed hash", hash)
	}
	if VerifySecret(pepper, secret, hash) == false || VerifySecret([]byte("another pepper"), secret, hash) || VerifySecret(pepper, secret, "") {
		t.Error("VerifySecret takes what it should not, or not what it should")
	}
	if len(secret) != 40 { // 200 bits in base 32
		t.Errorf("the secret has %d digits, want 40", len(secret))
	}
}

// No refusal quotes what was shown.
func TestB19_ErrorsHoldNoSecret(t *testing.T) {
	g, b := keyed(t)
	const canary = "CANARY0123456789"
	for _, text := range []string{
		canary, streamKeyPrefix + canary, streamKeyPrefix + canary + "_" + canary, canary + "." + canary + "." + canary,
		b.raw(t, "ed", map[string]any{"kid": canary}, good(nil)), b.raw(t, "ed", map[string]any{"typ": canary}, good(nil)),
		b.raw(t, "ed", nil, good(map[string]any{"sub": canary + "/"})), b.raw(t, "ed", nil, good(map[string]any{"exp": canary})),
		b.raw(t, "ed", nil, good(map[string]any{"ns": []string{"*/" + canary}})), b.raw(t, "ed", nil, good(map[string]any{"jti": canary, "ip": canary})),
	} {
		for name, do := range map[string]func() error{
			"check":  func() error { _, err := g.check(text, attempt{}); return err },
			"path":   func() error { _, err := g.Session(far.String(), "/?tok="+text, nil); return err },
			"query":  func() error { _, err := g.Session(far.String(), "/?tok=%zz"+text, nil); return err },
			"header": func() error { r := request1(far, "/", text); _, err := g.Page(r); return err },
			"scheme": func() error {
				r := request1(far, "/", "")
				r.Header.Set("Authorization", text)
				_, err := g.Page(r)
				return err
			},
			"publish": func() error {
				_, err := g.Publish(t.Context(), PublishRequest{Remote: far, Name: "cam", StreamKey: text})
				return err
			},
		} {
			err := do()
			if err == nil || strings.Contains(err.Error(), canary) {
				t.Errorf("%s: %v, want a refusal without what was shown", name, err)
			}
		}
	}
}

func TestB22_Proxies(t *testing.T) {
	trusted := Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("2001:db8::/32")}
	for _, tt := range []struct {
		name   string
		peer   string
		header map[string]string
		want   string
		tls    bool
	}{
		{"nobody forwards", "192.0.2.1:5", nil, "192.0.2.1:5", false},
		{"a stranger claims to", "192.0.2.1:5", map[string]string{"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1;proto=https"}, "192.0.2.1:5", false},
		{"our proxy", "10.0.0.1:5", map[string]string{"X-Forwarded-For": "198.51.100.9"}, "198.51.100.9:0", false},
		{"with a scheme", "10.0.0.1:5", map[string]string{"X-Forwarded-For": "198.51.100.9", "X-Forwarded-Proto": "https"}, "198.51.100.9:0", true},
		{"a client that lies before it", "10.0.0.1:5", map[string]string{"X-Forwarded-For": "127.0.0.1, 198.51.100.9"}, "198.51.100.9:0", false},
		{"two of ours", "10.0.0.1:5", map[string]string{"X-Forwarded-For": "1.2.3.4, 198.51.100.9, 10.0.0.2"}, "198.51.100.9:0", false},
		{"Forwarded", "10.0.0.1:5", map[string]string{"Forwarded": `for=1.2.3.4, for="198.51.100.9:4711";proto=https;by=10.0.0.1`}, "198.51.100.9:0", true},
		{"Forwarded over IPv6", "10.0.0.1:5", map[string]string{"Forwarded": `For="[2001:db9::7]:4711"`}, "[2001:db9::7]:0", false},
		{"Forwarded goes first", "10.0.0.1:5", map[string]string{"Forwarded": "for=198.51.100.9", "X-Forwarded-For": "127.0.0.1"}, "198.51.100.9:0", false},
		{"hidden", "10.0.0.1:5", map[string]string{"Forwarded": "for=_secret"}, "10.0.0.1:5", false},
		{"hidden behind a second of ours", "10.0.0.1:5", map[string]string{"Forwarded": "for=unknown, for=10.0.0.2"}, "10.0.0.2:0", false},
		{"rubbish", "10.0.0.1:5", map[string]string{"X-Forwarded-For": "x, ,,;"}, "10.0.0.1:5", false},
		{"a name", "10.0.0.1:5", map[string]string{"X-Forwarded-For": "localhost"}, "10.0.0.1:5", false},
		{"an endless chain", "10.0.0.1:5", map[string]string{"X-Forwarded-For": "1.2.3.4" + strings.Repeat(", 10.0.0.9", 50)}, "10.0.0.9:0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
			r.RemoteAddr = tt.peer
			for k, v := range tt.header {
				r.Header.Set(k, v)
			}
			trusted.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.RemoteAddr != tt.want || encrypted(r) != tt.tls {
					t.Errorf("the client is %s, encrypted %t, want %s, %t", r.RemoteAddr, encrypted(r), tt.want, tt.tls)
				}
				if tt.header != nil {
					// The loopback rule holds for nobody whom a proxy speaks for.
					if err := (Loopback{Enabled: true}).Request(r); err == nil {
						t.Error("the loopback rule lets it in")
					}
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		})
	}
}

// No two questions to the callback are remembered as one.
func TestB24_AnswersAreKeptApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b", "/", ":", "1", "1:a", "a/b", "ab"}), 0, 4)
		a, b := fields.Draw(t, "a"), fields.Draw(t, "b")
		if (joined(a) == joined(b)) != slices.Equal(a, b) {
			t.Fatalf("%q and %q are written %q and %q", a, b, joined(a), joined(b))
		}
	})
}

func TestB25_Encryption(t *testing.T) {
	b := newBook()
	b.input("lv_1", "local", RTMP, Policy{RequireEncryption: true, AnyIngest: true})
	sk, _ := b.key("lv_1", "stream", "local", "lv_1")
	g := openGate(t, Config{Directory: b})
	for _, tt := range []struct {
		name string
		do   func() (*Admission, error)
		ok   bool
	}{
		{"RTMP", func() (*Admission, error) {
			return g.Publish(t.Context(), PublishRequest{Protocol: RTMP, Remote: far, Name: "lv_1", StreamKey: sk})
		}, false},
		{"RTMPS", func() (*Admission, error) {
			return g.Publish(t.Context(), PublishRequest{Protocol: RTMP, Remote: far, Name: "lv_1", StreamKey: sk, Encrypted: true})
		}, true},
		{"SRT", func() (*Admission, error) {
			return g.Publish(t.Context(), PublishRequest{Protocol: SRT, Remote: far, Name: "lv_1", StreamKey: sk})
		}, false},
		{"HTTP", func() (*Admission, error) { return g.Ingest(request1(far, "/ingest/lv_1", sk), "lv_1") }, false},
		{"HTTP that says it is not", func() (*Admission, error) {
			r := request1(far, "/ingest/lv_1", sk)
			r.Header.Set("X-Forwarded-Proto", "https")
			return g.Ingest(r, "lv_1")
		}, false},
		{"HTTPS", func() (*Admission, error) {
			r := request1(far, "/ingest/lv_1", sk)
			r.TLS = &tls.ConnectionState{}
			return g.Ingest(r, "lv_1")
		}, true},
	} {
		a, err := tt.do()
		if err == nil {
			a.Close()
		}
		if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "encrypt") {
			t.Errorf("%s: %v, want ok %t", tt.name, err, tt.ok)
		}
	}
	p, err := g.Session(far.String(), "/publish/lv_1?sk="+sk, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Publish([]string{"publish", "lv_1"}, nil); err != nil {
		t.Errorf("MoQ, which always is: %v", err)
	}
}

// Credentials of one organisation on what is another's, on every way in.
func TestB26_OtherOrganisations(t *testing.T) {
	b := newBook()
	b.sign("any", "", Ed25519)
	sks := map[string]string{}
	for _, org := range []string{"local", "acme", "evil"} {
		b.sign(org, org, Ed25519)
		b.input("lv_"+org, org, FMP4, Policy{})
		sks[org], _ = b.key("lv_"+org, "stream", org, "lv_"+org)
	}
	g := openGate(t, Config{Directory: b, Loopback: Loopback{Enabled: true}})
	for _, mine := range []string{"local", "acme", "evil"} {
		toks := map[string]string{"input": "playback/lv_" + mine, "all of it": "stream/" + mine + "/*"}
		for _, theirs := range []string{"local", "acme", "evil"} {
			name, ns := "lv_"+theirs, []string{"stream", theirs, "lv_" + theirs}
			for what, pattern := range toks {
				tok := b.token(t, mine, func(c *Claims) { c.Subject, c.NS = mine, []string{pattern} })
				for _, form := range [][]string{ns, {"playback", name}, {strings.Join(ns, "/")}} {
					a, err := g.Play(request1(far, "/hls/"+name, tok), form)
					if err == nil {
						a.Close()
					}
					if (err == nil) != (mine == theirs) {
						t.Errorf("play %q with a token of %s for %s: %v", form, mine, what, err)
					}
				}
				p, err := g.Session(far.String(), "/?tok="+tok, nil)
				if err != nil {
					t.Fatal(err)
				}
				if p.Visible(ns) != (mine == theirs) {
					t.Errorf("a session with a token of %s for %s sees %q: %t", mine, what, ns, p.Visible(ns))
				}
				if _, err := p.Play(ns, nil); (err == nil) != (mine == theirs) {
					t.Errorf("session play %q with a token of %s for %s: %v", ns, mine, what, err)
				}
				if _, err := p.Watch(ns[:2], nil); (err == nil) != (mine == theirs) {
					t.Errorf("watch %q with a token of %s for %s: %v", ns[:2], mine, what, err)
				}
				p.Close()
			}
			a, err := g.Ingest(request1(far, "/ingest/"+name, sks[mine]), name)
			if err == nil {
				if want := ingestName(ns); a.Name() != want {
					t.Errorf("the ingest calls it %q, want %q", a.Name(), want)
				}
				a.Close()
			}
			if (err == nil) != (mine == theirs) {
				t.Errorf("publish %s with a key of %s: %v", name, mine, err)
			}
		}
	}
	// From this machine, without any: neither known nor unknown live inputs.
	here := netip.MustParseAddrPort("127.0.0.1:5")
	for _, name := range []string{"lv_local", "lv_unknown"} {
		if a, err := g.Ingest(request1(here, "/ingest/"+name, ""), name); err == nil {
			a.Close()
			t.Errorf("%s may be published without a key", name)
		}
		if a, err := g.Play(request1(here, "/hls/"+name, ""), []string{"playback", name}); err == nil {
			a.Close()
			t.Errorf("%s may be played without a token", name)
		}
	}
	visible, err := g.Page(request1(here, "/", ""))
	if err != nil || !visible([]string{"stream", "local", "cam"}) || visible([]string{"stream", "local", "lv_local"}) {
		t.Errorf("a page of this machine sees a live input, or not what is ad hoc: %v", err)
	}
}
