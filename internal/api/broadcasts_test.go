package api

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/broadcastd/broadcastd/internal/golden"
)

// openGate lets everybody see everything.
type openGate struct{ closed }

func (openGate) Page(*http.Request) (func([]string) bool, error) {
	return func([]string) bool { return true }, nil
}

// The page reads these.
func TestBroadcasts(t *testing.T) {
	local := []string{"", "", "Remote", "127.0.0.1:1"}
	ts := newTester(t, func(c *Config) { c.Gate = openGate{} })
	golden.Check(t, "broadcasts-live.json", []byte(ts.want(200, ts.call("GET", "/broadcasts", nil, local...), nil).text))
	empty := newTester(t, func(c *Config) {
		c.Broadcasts, c.CertificateHashes = nil, nil
		c.MoQURL = func(*http.Request) string { return "https://relay.example:4443/moq" }
	})
	golden.Check(t, "broadcasts-empty.json", []byte(empty.want(200, empty.call("GET", "/broadcasts", nil, local...), nil).text))
}

func TestBroadcastsAreThoseThatOneMaySee(t *testing.T) {
	ts := newTester(t)
	for _, tt := range []struct {
		name   string
		target string
		header []string
		want   string // the names, or the refusal
	}{
		{"admin", "/broadcasts", nil, "local/demo acme/cam "},
		{"key of an organisation", "/broadcasts", []string{"X-API-Key", ts.key([]string{"acme"}, "streams:read")}, "acme/cam "},
		{"key of all", "/broadcasts", []string{"X-API-Key", ts.key([]string{"*"}, "*")}, "local/demo acme/cam "},
		{"key without the scope", "/broadcasts", []string{"X-API-Key", ts.key([]string{"acme"}, "keys:*")}, "403"},
		{"unknown key", "/broadcasts", []string{"X-API-Key", "tqs_live_a_b", "Remote", "127.0.0.1:1"}, "401"},
		{"token", "/broadcasts?tok=of-demo", []string{"", ""}, "local/demo "},
		{"bad token, also from here", "/broadcasts?tok=x", []string{"", "", "Remote", "127.0.0.1:1"}, "403"},
		{"from here", "/broadcasts", []string{"", "", "Remote", "127.0.0.1:1"}, "local/demo "},
		{"from elsewhere", "/broadcasts", []string{"", ""}, "403"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := ts.call("GET", tt.target, nil, tt.header...)
			var got string
			if a.StatusCode == 200 {
				var l BroadcastList
				if err := json.Unmarshal([]byte(a.text), &l); err != nil {
					t.Fatal(err)
				}
				for _, b := range l.Broadcasts {
					got += b.Name + " "
				}
			} else {
				got = a.Status[:3]
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPlayback(t *testing.T) {
	ts := newTester(t)
	in, _ := ts.input("local", "cam")
	nobody := []string{"", ""}
	var p Playback
	ts.want(200, ts.call("GET", "/playback/"+in.External, nil, nobody...), &p)
	if want := (Playback{Type: "live", RelayURL: "https://media.example:4443", Namespace: "stream/local/" + in.External, CertificateHash: "00ff"}); p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
	ts.want(200, ts.call("GET", "/playback/demo?tok=of-demo&unknown=1", nil, nobody...), &p)
	if p.Namespace != "stream/local/demo" {
		t.Errorf("an ad-hoc broadcast is at %q", p.Namespace)
	}
	ts.refused(404, ts.call("GET", "/playback/lv_nothing", nil, nobody...), "lv_nothing")
	ts.refused(404, ts.call("GET", "/playback/cam", nil, nobody...), "cam") // acme's
	ts.refused(401, ts.call("GET", "/playback/"+in.External+"?tok=x", nil, nobody...), "auth")
	ts.refused(403, ts.call("GET", "/playback/"+in.External+"?tok=of-demo", nil, nobody...), "token")
}
