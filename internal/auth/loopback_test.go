package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestB21_PagesOfOthers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		off    bool
		remote string
		host   string
		header map[string]string
		want   string // part of the refusal; empty: allowed
	}{
		{name: "curl from this machine"},
		{name: "over IPv6", remote: "[::1]:1", host: "[::1]:8080"},
		{name: "IPv4 on an IPv6 socket", remote: "[::ffff:127.0.0.1]:1"},
		{name: "our page", header: map[string]string{"Origin": "http://localhost:8080"}},
		{name: "our page over HTTPS", header: map[string]string{"Origin": "https://127.0.0.1:4443"}},
		{name: "a subdomain of localhost", header: map[string]string{"Origin": "http://cam.localhost:8080"}},
		{name: "our public page", host: "Live.Example", header: map[string]string{"Origin": "https://live.example"}},
		{name: "our public page over HTTP", header: map[string]string{"Origin": "http://live.example:8080"}},
		{name: "switched off", off: true, want: "auth.loopback is off"},
		{name: "from elsewhere", remote: "192.0.2.1:1", want: "only this machine"},
		{name: "no address", remote: "@", want: "only this machine"},
		{name: "Forwarded", header: map[string]string{"Forwarded": "for=192.0.2.1"}, want: "proxy"},
		{name: "X-Forwarded-For", header: map[string]string{"X-Forwarded-For": "127.0.0.1"}, want: "proxy"},
		{name: "x-forwarded-proto", header: map[string]string{"x-forwarded-proto": "https"}, want: "proxy"},
		{name: "Via", header: map[string]string{"Via": "1.1 proxy"}, want: "proxy"},
		{name: "page from elsewhere", header: map[string]string{"Origin": "https://evil.example"}, want: `"https://evil.example" may not`},
		{name: "sandboxed page", header: map[string]string{"Origin": "null"}, want: `"null" may not`},
		{name: "a name that only looks local", header: map[string]string{"Origin": "http://localhost.evil.example"}, want: "may not"},
		{name: "an extension", header: map[string]string{"Origin": "chrome-extension://localhost"}, want: "may not"},
		{name: "rebinding", host: "evil.example:8080", want: "none of this server's names"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := Loopback{Enabled: !tt.off, Own: []string{"live.example"}}
			r := httptest.NewRequest(http.MethodPost, "http://localhost:8080/ingest/cam", nil)
			r.RemoteAddr = "127.0.0.1:50000"
			if tt.remote != "" {
				r.RemoteAddr = tt.remote
			}
			if tt.host != "" {
				r.Host = tt.host
			}
			for k, v := range tt.header {
				r.Header.Set(k, v)
			}
			err := l.Request(r)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Request = %v, want it allowed", err)
				}
				return
			}
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Request = %v, want a refusal with %q", err, tt.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		namespace []string
		ok        bool
	}{
		{Namespace("cam"), true},
		{Namespace("Studio-1_b.main~x"), true},
		{Namespace(strings.Repeat("a", 128)), true},
		{Namespace(strings.Repeat("a", 129)), false},
		{Namespace(""), false},
		{Namespace("."), false},
		{Namespace(".hidden"), false},
		{Namespace("a/b"), false},
		{Namespace("a\n"), false},
		{Namespace("ä"), false},
		{[]string{"stream", "acme", "cam"}, false},
		{[]string{"stream", "local"}, false},
		{[]string{"stream", "local", "cam", "x"}, false},
		{nil, false},
	} {
		name, err := adHocName(tt.namespace)
		if (err == nil) != tt.ok {
			t.Errorf("adHocName(%q) = %q, %v, want ok %t", tt.namespace, name, err, tt.ok)
		}
	}
	for _, tt := range []struct {
		prefix []string
		ok     bool
	}{
		{nil, true},
		{[]string{"stream"}, true},
		{[]string{"stream", "local"}, true},
		{[]string{"stream", "local", "cam"}, true},
		{[]string{"stream", "acme"}, false},
		{[]string{"vod"}, false},
	} {
		if err := adHocPrefix(tt.prefix); (err == nil) != tt.ok {
			t.Errorf("adHocPrefix(%q) = %v, want ok %t", tt.prefix, err, tt.ok)
		}
	}
}
