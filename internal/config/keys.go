package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A Key is one setting. Its value travels as text, in the form that the file
// has: a scalar, or YAML for the keys that hold a list.
type Key struct {
	Name    string // dotted, as in http.listen
	Help    string // one line
	Default string // what stands when nothing is set
	Secret  bool   // masked when printed; NAME_FILE reads it from a file
	List    bool   // the value is a YAML list
	Bool    bool
	Later   bool // accepted, but nothing stands behind it yet

	set func(*Config, string) error
}

// Env returns the variable that overrides the key.
func (k Key) Env() string {
	return "BROADCASTD_" + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "__"))
}

// Flag returns the flag that overrides the key, without its dashes.
func (k Key) Flag() string { return strings.ReplaceAll(k.Name, "_", "-") }

// Keys returns every key, in the order in which they are printed. The default
// state directory depends on the user and comes in.
func Keys(stateDir string) []Key {
	return []Key{
		{
			Name: "state_dir", Default: stateDir, Help: "where keys, live inputs, sessions and the certificate are kept",
			set: func(c *Config, v string) error { return setText(&c.StateDir, v) },
		},
		{
			Name: "admin_key", Secret: true, Help: "key of the administrator; empty generates one and keeps it in the state directory",
			set: func(c *Config, v string) error { return setAdminKey(&c.AdminKey, v) },
		},
		{
			Name: "demo", Default: "false", Bool: true, Help: "feed the built-in clip as stream/local/demo",
			set: func(c *Config, v string) error { return setBool(&c.Demo, v) },
		},
		{
			Name: "http.listen", Default: ":8080", Help: "site, API and ingest over HTTP (TCP)",
			set: func(c *Config, v string) error { return setListen(&c.HTTP.Listen, v) },
		},
		{
			Name: "moq.listen", Default: ":4443", Help: "MoQT over QUIC and WebTransport (UDP), and the site over HTTPS (TCP)",
			set: func(c *Config, v string) error { return setListen(&c.MoQ.Listen, v) },
		},
		{
			Name: "moq.public", Help: "URL of MoQT as players reach it, such as https://live.example:4443",
			set: func(c *Config, v string) error { return setURL(&c.MoQ.Public, v, "https", "moqt") },
		},
		{
			Name: "moq.join", Default: "group", Help: "where a late subscriber starts: group (its first frame) or strict (as the draft says)",
			set: func(c *Config, v string) error { return setOne(&c.MoQ.Join, v, "group", "strict") },
		},
		{
			Name: "moq.drain_uri", Help: "where MoQT sessions move before this server stops, such as moqt://other.example:4443; empty stops at once",
			set: func(c *Config, v string) error { return setURL(&c.MoQ.DrainURI, v, "moqt", "https") },
		},
		{
			Name: "moq.drain_timeout", Default: "10s", Help: "how long they have for that",
			set: func(c *Config, v string) error {
				return setDuration(&c.MoQ.DrainTimeout, v, time.Second, 10*time.Minute)
			},
		},
		{
			Name: "moq.cache_bytes", Default: "0", Help: "what all tracks together may cache, such as 512MiB; 0 takes a quarter of the memory, at most 2GiB",
			set: func(c *Config, v string) error { return setBytes(&c.MoQ.CacheBytes, v) },
		},
		{
			Name: "rtmp.listen", Default: ":1935", Help: "RTMP (TCP)",
			set: func(c *Config, v string) error { return setListen(&c.RTMP.Listen, v) },
		},
		{
			Name: "rtmps.listen", Default: ":1936", Help: "RTMP over TLS (TCP)",
			set: func(c *Config, v string) error { return setListen(&c.RTMPS.Listen, v) },
		},
		{
			Name: "srt.listen", Default: ":8890", Help: "SRT (UDP)",
			set: func(c *Config, v string) error { return setListen(&c.SRT.Listen, v) },
		},
		{
			Name: "srt.latency", Default: "120ms", Help: "how long SRT holds packets back, so that lost ones can come again: three or four round trips; an encoder may ask for more",
			set: func(c *Config, v string) error { return setDuration(&c.SRT.Latency, v, 0, maxSRTLatency) },
		},
		{
			Name: "srt.more", List: true, Help: "more ports for SRT, each with a latency of its own: a list of listen and latency",
			set: func(c *Config, v string) error { return setSRTListeners(&c.SRT.More, v) },
		},
		{
			Name: "webrtc.listen", Default: ":8189", Later: true, Help: "ICE for WHIP and WHEP (UDP)",
			set: func(c *Config, v string) error { return setListen(&c.WebRTC.Listen, v) },
		},
		{
			Name: "admin.listen", Default: "127.0.0.1:9998", Help: "/healthz, /readyz, /metrics and pprof (TCP)",
			set: func(c *Config, v string) error { return setListen(&c.Admin.Listen, v) },
		},
		{
			Name: "public_url", Help: "URL of the site as browsers reach it, such as https://live.example",
			set: func(c *Config, v string) error { return setURL(&c.PublicURL, v, "https", "http") },
		},
		{
			Name: "tls.cert", Help: "certificate chain in PEM, read again when it changes; empty is self-signed",
			set: func(c *Config, v string) error { return setText(&c.TLS.Cert, v) },
		},
		{
			Name: "tls.key", Help: "private key in PEM for tls.cert",
			set: func(c *Config, v string) error { return setText(&c.TLS.Key, v) },
		},
		{
			Name: "group_duration", Default: "1s", Help: "least length of a group, 500ms to 10s",
			set: func(c *Config, v string) error {
				return setDuration(&c.GroupDuration, v, 500*time.Millisecond, 10*time.Second)
			},
		},
		{
			Name: "ingest.grace", Default: "5s", Help: "how long a lost input may take to return to its broadcast, up to 5m",
			set: func(c *Config, v string) error { return setDuration(&c.Ingest.Grace, v, 0, 5*time.Minute) },
		},
		{
			Name: "ingest.stall", Default: "2s", Help: "how long an input may bring nothing before its backup takes over, 500ms to 1m",
			set: func(c *Config, v string) error {
				return setDuration(&c.Ingest.Stall, v, 500*time.Millisecond, time.Minute)
			},
		},
		{
			Name: "pulls", List: true, Help: "HLS presentations, RTMP and SRT streams to pull: a list of name and url, for the broadcast stream/local/name",
			set: func(c *Config, v string) error { return setPulls(&c.Pulls, v) },
		},
		{
			Name: "pull.allow", List: true, Help: "addresses or prefixes that are not of the public Internet and that pulls may reach nevertheless",
			set: func(c *Config, v string) error { return setPrefixes(&c.PullAllow, v) },
		},
		{
			Name: "auth.jwks", Help: "JWKS file or https URL with more public keys of those who sign tokens",
			set: func(c *Config, v string) error { return setText(&c.Auth.JWKS, v) },
		},
		{
			Name: "auth.callback", Help: "URL that is asked about keys and tokens that are not known here: https, or http on this machine",
			set: func(c *Config, v string) error { return setURL(&c.Auth.Callback, v, "https", "http") },
		},
		{
			Name: "auth.callback_secret", Secret: true, Help: "bearer secret that goes along with what auth.callback is asked",
			set: func(c *Config, v string) error { return setText(&c.Auth.CallbackSecret, v) },
		},
		{
			Name: "auth.loopback", Default: "true", Bool: true, Help: "let loopback peers use ad-hoc names without a key",
			set: func(c *Config, v string) error { return setBool(&c.Auth.Loopback, v) },
		},
		{
			Name: "trusted_proxies", List: true, Help: "addresses or prefixes of proxies whose Forwarded and X-Forwarded-For headers count",
			set: func(c *Config, v string) error { return setPrefixes(&c.TrustedProxies, v) },
		},
		{
			Name: "metrics.stream_label", Default: "0", Help: "how many inputs get metrics of their own, with the label stream, up to 1000; 0 is none",
			set: func(c *Config, v string) error { return setCount(&c.Metrics.StreamLabel, v, 1000) },
		},
		{
			Name: "log.level", Default: "info", Help: "debug, info, warn or error",
			set: func(c *Config, v string) error { return setOne(&c.Log.Level, v, "debug", "info", "warn", "error") },
		},
		{
			Name: "log.format", Default: "auto", Help: "text, json, or auto: text on a terminal",
			set: func(c *Config, v string) error { return setOne(&c.Log.Format, v, "auto", "text", "json") },
		},
	}
}

func setText(p *string, v string) error {
	if strings.ContainsAny(v, "\x00\n\r") {
		return errors.New("has a line break in it")
	}
	*p = v
	return nil
}

func setAdminKey(p *string, v string) error {
	if v == masked {
		return errors.New("is the mask that `config print` shows")
	}
	if v != "" && len(v) < 16 {
		return errors.New("is shorter than 16 characters") // the value itself must not be shown
	}
	*p = v
	return nil
}

func setBool(p *bool, v string) error {
	switch strings.ToLower(v) {
	case "true", "yes", "on", "1":
		*p = true
	case "false", "no", "off", "0":
		*p = false
	default:
		return fmt.Errorf("is %q, want true or false", v)
	}
	return nil
}

func setOne(p *string, v string, words ...string) error {
	if !slices.Contains(words, v) {
		return fmt.Errorf("is %q, want %s", v, strings.Join(words, " or "))
	}
	*p = v
	return nil
}

func setCount(p *int, v string, most int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > most {
		return fmt.Errorf("is %q, want a number from 0 to %d", v, most)
	}
	*p = n
	return nil
}

func setDuration(p *time.Duration, v string, least, most time.Duration) error {
	d, err := time.ParseDuration(v)
	if err != nil {
		return fmt.Errorf("is %q, want a duration such as 1s or 500ms", v)
	}
	if d < least || d > most {
		return fmt.Errorf("is %v, want %v to %v", d, least, most)
	}
	*p = d
	return nil
}

// setBytes takes a number of bytes, with or without a unit.
func setBytes(p *int64, v string) error {
	text, unit := strings.TrimSpace(v), int64(1)
	for _, u := range []struct {
		name string
		n    int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}} {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimSpace(rest), u.n
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("is %q, want a number of bytes such as 1073741824 or 512MiB", v)
	}
	*p = n * unit
	return nil
}

func setListen(p *string, v string) error {
	if v == "" {
		*p = ""
		return nil
	}
	_, port, err := net.SplitHostPort(v)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("is %q, want host:port such as :8080 or 127.0.0.1:8080", v)
	}
	*p = v
	return nil
}

func setURL(p *string, v string, schemes ...string) error {
	if v == "" {
		*p = ""
		return nil
	}
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("is no URL of the form %s://host", strings.Join(schemes, "://host or "))
	}
	*p = strings.TrimSuffix(v, "/")
	return nil
}

func setPrefixes(p *[]netip.Prefix, v string) error {
	texts, err := parseList[string](v)
	if err != nil {
		return err
	}
	list := make([]netip.Prefix, 0, len(texts))
	for _, t := range texts {
		prefix, err := netip.ParsePrefix(t)
		if err != nil {
			addr, addrErr := netip.ParseAddr(t)
			if addrErr != nil {
				return fmt.Errorf("has %q, want an address or a prefix such as 10.0.0.0/8", t)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		list = append(list, prefix.Masked())
	}
	*p = list
	return nil
}

// pullSchemes are what a URL may begin with that is pulled.
var pullSchemes = []string{"http", "https", "rtmp", "rtmps", "srt"}

// maxSRTLatency is the most that a handshake of SRT can say, and some less.
const maxSRTLatency = time.Minute

// maxSRTListeners bounds srt.more.
const maxSRTListeners = 16

func setSRTListeners(p *[]SRTListener, v string) error {
	list, err := parseList[SRTListener](v)
	if err != nil {
		return err
	}
	if len(list) > maxSRTListeners {
		return fmt.Errorf("has %d entries, at most %d are taken", len(list), maxSRTListeners)
	}
	for i, l := range list {
		if err := setListen(&list[i].Listen, l.Listen); err != nil || l.Listen == "" {
			return fmt.Errorf("entry %d listens at %q, want host:port such as :8891", i+1, l.Listen)
		}
		if l.Latency < 0 || l.Latency > maxSRTLatency {
			return fmt.Errorf("entry %d has a latency of %v, want 0 to %v", i+1, l.Latency, maxSRTLatency)
		}
	}
	*p = list
	return nil
}

func setPulls(p *[]Pull, v string) error {
	list, err := parseList[Pull](v)
	if err != nil {
		return err
	}
	for i, pull := range list {
		u, err := url.Parse(pull.URL)
		switch {
		case pull.Name == "":
			return fmt.Errorf("entry %d has no name", i+1)
		case err != nil || u.Host == "" || !slices.Contains(pullSchemes, u.Scheme):
			return fmt.Errorf("entry %d (%s) has no url of %s", i+1, pull.Name, strings.Join(pullSchemes, ", "))
		case len(pull.Headers) > 0 && u.Scheme != "http" && u.Scheme != "https":
			return fmt.Errorf("entry %d (%s) has headers, which are for http and https", i+1, pull.Name)
		}
	}
	*p = list
	return nil
}

// parseList reads a list in YAML's flow or block form; an empty text is an
// empty list, and a text with commas alone is a list of words.
func parseList[T any](v string) ([]T, error) {
	if strings.TrimSpace(v) == "" {
		return nil, nil
	}
	var list []T
	dec := yaml.NewDecoder(strings.NewReader(v))
	dec.KnownFields(true)
	err := dec.Decode(&list)
	if err == nil {
		return list, nil
	}
	if !strings.ContainsAny(v, "[]{}\n") {
		dec := yaml.NewDecoder(strings.NewReader("[" + v + "]"))
		dec.KnownFields(true)
		if dec.Decode(&list) == nil {
			return list, nil
		}
	}
	return nil, fmt.Errorf("is no YAML list: %s", strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n ", ""), "yaml: "))
}
