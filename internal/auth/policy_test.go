package auth

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// An input takes the protocol that it was made for, from where it may come.
func TestPolicy(t *testing.T) {
	b := newBook()
	b.input("lv_fmp4", "local", FMP4, Policy{})
	b.input("lv_rtmp", "acme", RTMP, Policy{AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}})
	b.input("lv_any", "local", SRT, Policy{AnyIngest: true})
	sk := map[string]string{}
	for external, in := range b.inputs {
		sk[external], _ = b.key(external, in.Namespace...)
	}
	sk["cam"], _ = b.key("", "stream", "local", "cam")
	g := openGate(t, Config{Directory: b, Loopback: Loopback{Enabled: true}})
	for _, tt := range []struct {
		name     string
		input    string
		protocol Ingest
		from     string
		ingest   string // what the ingest calls it
		takes    Ingest // of the refusal
		want     string // part of the refusal; empty: allowed
	}{
		{"CMAF push", "lv_fmp4", FMP4, "192.0.2.7:1", "lv_fmp4", "", ""},
		{"MoQT to the same", "lv_fmp4", MoQT, "192.0.2.7:1", "lv_fmp4", "", ""},
		{"RTMP to it", "lv_fmp4", RTMP, "192.0.2.7:1", "", FMP4, "takes fmp4, and this is rtmp"},
		{"SRT to it", "lv_fmp4", SRT, "192.0.2.7:1", "", FMP4, "takes fmp4, and this is srt"},
		{"RTMP", "lv_rtmp", RTMP, "192.0.2.7:1", "acme/lv_rtmp", "", ""},
		{"RTMP over IPv6", "lv_rtmp", RTMP, "[2001:db8::9]:1", "acme/lv_rtmp", "", ""},
		{"RTMP from an IPv4 address on an IPv6 socket", "lv_rtmp", RTMP, "[::ffff:192.0.2.7]:1", "acme/lv_rtmp", "", ""},
		{"RTMP from elsewhere", "lv_rtmp", RTMP, "198.51.100.1:1", "", "", "may not come from this address"},
		{"RTMP from this machine", "lv_rtmp", RTMP, "127.0.0.1:1", "", "", "may not come from this address"},
		{"WHIP to it", "lv_rtmp", WHIP, "192.0.2.7:1", "", RTMP, "takes rtmp, and this is whip"},
		{"MoQT to it", "lv_rtmp", MoQT, "192.0.2.7:1", "", RTMP, "takes rtmp, and this is moqt"},
		{"any to one that takes all", "lv_any", WHIP, "192.0.2.7:1", "lv_any", "", ""},
		{"any to an ad-hoc name", "cam", SRT, "192.0.2.7:1", "cam", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := g.Publish(t.Context(), PublishRequest{
				Protocol: tt.protocol, Remote: netip.MustParseAddrPort(tt.from), Name: tt.input, StreamKey: sk[tt.input],
			})
			if err == nil {
				defer a.Close()
				if in, live := a.Input(); a.Name() != tt.ingest || live != (tt.input != "cam") || live && in.External != tt.input {
					t.Errorf("it is %q, input %+v, want %q", a.Name(), in, tt.ingest)
				}
			}
			refused, ok := errors.AsType[*RefusedError](err)
			if (err == nil) != (tt.want == "") || err != nil && (!ok || refused.Takes != tt.takes || !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	// Who does not hold the key is told nothing of what the input takes.
	_, err := g.Publish(t.Context(), PublishRequest{Protocol: SRT, Remote: far, Name: "lv_rtmp", StreamKey: sk["cam"]})
	if CodeOf(err) != CodeWrongInput {
		t.Errorf("with the key of another: %v", err)
	}
	for _, name := range []string{"lv_fmp4", "lv_unknown"} {
		_, err := g.Publish(t.Context(), PublishRequest{Protocol: FMP4, Remote: netip.MustParseAddrPort("127.0.0.1:1"), Name: name})
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s from this machine without a key: %v, want it refused", name, err)
		}
	}
	if a, err := g.Publish(t.Context(), PublishRequest{Protocol: RTMP, Remote: netip.MustParseAddrPort("127.0.0.1:1"), Name: "studio"}); err != nil || a.Name() != "studio" || a.Grant() != nil {
		t.Errorf("an ad-hoc name from this machine: %v", err)
	}
	for _, name := range []string{"", "..", "a/b", "stream/local/cam"} {
		if _, err := g.Publish(t.Context(), PublishRequest{Protocol: RTMP, Remote: far, Name: name, StreamKey: sk["cam"]}); !errors.Is(err, ErrRefused) {
			t.Errorf("the name %q: %v, want it refused", name, err)
		}
	}
	if in, ok := g.Lookup("lv_rtmp"); !ok || in.Org != "acme" {
		t.Errorf("Lookup = %+v, %t", in, ok)
	}
	p, err := g.Session(far.String(), "/publish/lv_rtmp?sk="+sk["lv_rtmp"], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Publish([]string{"publish", "lv_rtmp"}, nil); err == nil || !strings.Contains(err.Error(), "takes rtmp, and this is moqt") {
		t.Errorf("a MoQ session of an RTMP input: %v, want a refusal that says what it takes", err)
	}
}
