package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Callback names whom to ask about requests that our own keys do not decide:
// of those who show a key or a token of somebody else's, and of those who show
// none and are not let in by the loopback rule.
type Callback struct {
	// URL is asked with POST: https, or http on this machine. Empty: nobody.
	URL string
	// Secret goes along as "Authorization: Bearer <secret>".
	Secret string
}

// Bounds of what the callback is asked.
const (
	maxAnswer  = 64 << 10 // bytes
	maxAsking  = 64       // questions under way
	maxAnswers = 4096     // that are remembered
	// An answer is good for so long: yes, no.
	keepYes = 30 * time.Second
	keepNo  = 5 * time.Second
)

// A question is what the callback is sent, as JSON. The credential is in no
// other place.
type question struct {
	Action    string `json:"action"`   // connect, publish, play or watch
	Protocol  Ingest `json:"protocol"` // fmp4, hls, moqt, rtmp, srt or whip
	Input     string `json:"input"`    // external id of the live input, or the ad-hoc name
	Namespace string `json:"namespace"`
	Remote    string `json:"remote"` // address
	Encrypted bool   `json:"encrypted"`

	Credential string `json:"credential,omitempty"`
}

// A reply is what may stand in the body of a yes; an empty body says yes to what
// was asked.
type reply struct {
	Namespaces []string `json:"namespaces"` // patterns, as in a token
	Publish    bool     `json:"publish"`
	Org        string   `json:"org"` // of playback/<id> in Namespaces
	Expires    int64    `json:"expires"`
	ID         string   `json:"id"` // by which it can be revoked, like a jti
	Viewer     string   `json:"viewer"`
	MaxHeight  int      `json:"maxHeight"`
}

// A decision is an answer of the callback.
type decision struct {
	publish   bool
	org       string
	id        string
	viewer    string
	maxHeight int
	patterns  []pattern
	expires   time.Time
	err       error // it is no

	until time.Time
	done  chan struct{} // closed when the rest is there
}

// An ask identifies a question. Its fields stay apart, so that no two questions
// pass for one another.
type ask struct {
	action     string
	protocol   Ingest
	namespace  string // each field with its length
	remote     netip.Addr
	encrypted  bool
	credential [sha256.Size]byte
}

// A callback asks, and remembers the answers. Equal questions are asked once.
type callback struct {
	asker  *asker
	url    string
	secret string

	mu         sync.Mutex
	asking     map[ask]*decision
	young, old map[ask]*decision // generations of answers
}

// newCallback makes the callback of the settings, nil if there is none.
func newCallback(cfg Config) (*callback, error) {
	if cfg.Callback.URL == "" {
		return nil, nil
	}
	asker, err := newAsker("auth.callback", cfg.Callback.URL, cfg.Transport)
	return &callback{
		asker: asker, url: cfg.Callback.URL, secret: cfg.Callback.Secret, asking: make(map[ask]*decision),
	}, err
}

// stop ends what is asked, and what will be: nobody is let in any more.
func (c *callback) stop() {
	if c != nil {
		c.asker.end()
	}
}

// decides says whether a request that our own keys refused is one for the
// callback: of a credential that they do not know, or of none.
func (c *callback) decides(credential string, err error) bool {
	code := CodeOf(err)
	return c != nil && (credential == "" || code == CodeUnknown || code == CodeMalformed)
}

// ask asks about a request, or remembers the answer. It takes 3 s at most, and
// refuses when there is no answer. may says whether one that is not remembered
// may be asked.
func (c *callback) ask(now time.Time, r request, may func() error) (*decision, error) {
	if len(r.credential) > maxToken {
		return nil, refused(CodeMalformed, fmt.Sprintf("a token of %d bytes, at most %d are read", len(r.credential), maxToken))
	}
	key := ask{r.action, r.protocol, joined(r.namespace), r.remote, r.encrypted, sha256.Sum256([]byte(r.credential))}
	c.mu.Lock()
	d := c.find(now, key)
	if d != nil {
		c.mu.Unlock()
		<-d.done
		return d, d.err
	}
	if err := may(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	if len(c.asking) >= maxAsking {
		c.mu.Unlock()
		return nil, refused(CodeUnavailable, "too many ask at once; try again")
	}
	d = &decision{done: make(chan struct{})}
	c.asking[key] = d
	c.mu.Unlock()

	c.fill(now, d, r)

	c.mu.Lock()
	delete(c.asking, key)
	if d.until.After(now) {
		if c.young == nil || len(c.young) >= maxAnswers/2 {
			c.young, c.old = make(map[ask]*decision), c.young
		}
		c.young[key] = d
	}
	c.mu.Unlock()
	close(d.done)
	return d, d.err
}

// find returns the decision on a question, made or under way. c.mu is held.
func (c *callback) find(now time.Time, key ask) *decision {
	if d := c.asking[key]; d != nil {
		return d
	}
	for _, generation := range []map[ask]*decision{c.young, c.old} {
		if d := generation[key]; d != nil && now.Before(d.until) {
			return d
		}
	}
	return nil
}

// joined writes fields so that no others read the same.
func joined(fields []string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(strconv.Itoa(len(f)))
		b.WriteByte(':')
		b.WriteString(f)
	}
	return b.String()
}

// fill asks and sets what the answer says.
func (c *callback) fill(now time.Time, d *decision, r request) {
	got, err := c.post(r)
	switch {
	case err != nil || got.status >= 500 || got.status/100 == 3:
		d.err = refused(CodeUnavailable, "whoever decides about this did not answer")
	case got.status/100 == 2:
		if d.err = d.read(now, r, got.body); d.err == nil {
			d.until = now.Add(keepYes)
		}
		if !d.expires.IsZero() && d.expires.Before(d.until) {
			d.until = d.expires
		}
	default:
		d.until = now.Add(keepNo)
		d.err = refused(CodeUnknown, "whoever decides about this refused")
	}
}

func (c *callback) post(r request) (answer, error) {
	body, err := json.Marshal(question{
		Action: r.action, Protocol: r.protocol, Input: r.name, Namespace: strings.Join(r.namespace, "/"),
		Remote: r.remote.String(), Encrypted: r.encrypted, Credential: r.credential,
	})
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.secret != "" {
		req.Header.Set("Authorization", "Bearer "+c.secret)
	}
	return c.asker.do(req, maxAnswer)
}

// read takes what a yes says. Without namespaces it is for what was asked.
func (d *decision) read(now time.Time, r request, body []byte) error {
	var say reply
	body = bytes.TrimSpace(body)
	unreadable := refused(CodeUnavailable, "the answer of whoever decides about this cannot be read")
	if len(body) > 0 && json.Unmarshal(body, &say) != nil || len(say.Namespaces) > maxLengths {
		return unreadable
	}
	d.org, d.id, d.viewer, d.maxHeight = say.Org, say.ID, say.Viewer, say.MaxHeight
	if d.org == "" {
		d.org = adHocOrg
	}
	if d.publish = say.Publish; len(say.Namespaces) == 0 {
		d.publish = r.action == actionPublish
	}
	for _, text := range say.Namespaces {
		p, ok := parsePattern(text, d.org)
		if !ok {
			return unreadable
		}
		d.patterns = append(d.patterns, p)
	}
	if len(say.Namespaces) == 0 && (r.action == actionPublish || r.action == actionPlay) {
		d.patterns = []pattern{{fields: r.namespace}}
	}
	if say.Expires != 0 {
		if d.expires = time.Unix(say.Expires, 0); !d.expires.After(now) {
			return refused(CodeExpired, "whoever decides about this lets nobody in for longer")
		}
	}
	return nil
}
