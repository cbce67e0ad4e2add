package rtmp

import (
	"context"
	"net/netip"
	"net/url"
	"strings"

	"github.com/bluenviron/gortmplib/pkg/amf0"
)

// An Attempt is what an encoder shows that wants to publish.
type Attempt struct {
	Remote netip.AddrPort
	// Name is the last part of the URL's path: in rtmp://HOST/live/NAME.
	Name string
	// StreamKey is what the query has as sk or, as other servers' encoders send
	// it, as key, or as pass or password beside a user. Empty: none.
	StreamKey string
	Token     string // what the query has as tok or token
	UserAgent string // the encoder's flashVer
	Encrypted bool   // it came over TLS
}

// An Admission is a permission to publish.
type Admission interface {
	// Name is the input's in the ingest.Registry.
	Name() string
	// Context ends with the reason when the permission is withdrawn.
	Context() context.Context
	// Close is called once the connection has ended.
	Close()
}

// A negotiation is the server's side of the commands up to publish, RTMP
// section 7.2. It is a state machine: command by command in, answers out.
type negotiation struct {
	l       *link
	app     string
	tcURL   string
	agent   string
	publish command
}

// Codes of onStatus.
const (
	codeBadName   = "NetStream.Publish.BadName"
	codeStart     = "NetStream.Publish.Start"
	codePlayFails = "NetStream.Play.Failed"
)

// capabilities of Enhanced RTMP's capsEx: multitrack, ModEx, nanoseconds.
const capsEx = 0x02 | 0x04 | 0x08

// fourCCs are the codecs that capabilities are told of.
var fourCCs = [2][]string{{"avc1", "hvc1", "av01", "vp09"}, {"mp4a", "Opus", "fLaC", "ac-3", "ec-3"}}

// command answers one command. done is true for publish, which is answered
// once it is decided on.
func (n *negotiation) command(c command) (done bool, err error) {
	if n.tcURL == "" && n.app == "" && c.name != "connect" {
		return false, protocolError("the command %.32q before connect", c.name)
	}
	switch c.name {
	case "connect":
		return false, n.connect(c)
	case "createStream":
		return false, n.l.send(0, "_result", c.id, nil, float64(mediaStream))
	case "releaseStream", "FCPublish":
		return false, n.l.send(0, "_result", c.id, nil, amf0.Undefined{})
	case "play", "play2":
		return false, errPlay
	case "publish":
		n.publish = c
		return true, nil
	}
	return false, nil // of the rest nothing is expected back
}

var errPlay = refuse(codePlayFails, "there is nothing to play over RTMP; HLS and MoQ are for viewers")

func (n *negotiation) connect(c command) error {
	o := object(c.arg(0))
	n.app = strings.Trim(text(o, "app"), "/'")
	n.tcURL = strings.Trim(text(o, "tcUrl"), "'")
	n.agent = text(o, "flashVer")
	if n.app == "" && n.tcURL == "" {
		return protocolError("connect without app")
	}
	if err := n.l.open(); err != nil {
		return err
	}
	n.l.connected = true
	var info [2]amf0.Object
	for media, list := range fourCCs {
		const canForward = 4
		for _, f := range list {
			info[media] = append(info[media], amf0.ObjectEntry{Key: f, Value: float64(canForward)})
		}
	}
	var list amf0.StrictArray
	for _, f := range append(fourCCs[video][:len(fourCCs[video]):len(fourCCs[video])], fourCCs[audio]...) {
		list = append(list, f)
	}
	return n.l.send(0, "_result", c.id,
		amf0.Object{{Key: "fmsVer", Value: "FMS/3,5,7,7009"}, {Key: "capabilities", Value: float64(31)}, {Key: "mode", Value: float64(1)}},
		amf0.Object{
			{Key: "level", Value: "status"},
			{Key: "code", Value: "NetConnection.Connect.Success"},
			{Key: "description", Value: "Connection succeeded."},
			{Key: "objectEncoding", Value: float64(0)},
			{Key: "capsEx", Value: float64(capsEx)},
			{Key: "fourCcList", Value: list},
			{Key: "videoFourCcInfoMap", Value: info[video]},
			{Key: "audioFourCcInfoMap", Value: info[audio]},
		})
}

// attempt reads name and credentials from what connect and publish said.
func (n *negotiation) attempt() Attempt {
	stream, _ := n.publish.arg(1).(string)
	path, query, _ := strings.Cut(stream, "?")
	app, appQuery, _ := strings.Cut(n.app, "?")
	_, urlQuery, _ := strings.Cut(n.tcURL, "?")
	if path = strings.Trim(path, "/"); path == "" {
		path = app // rtmp://HOST/NAME
	}
	a := Attempt{Name: path[strings.LastIndexByte(path, '/')+1:], UserAgent: n.agent}
	// What stands nearest to the name counts first.
	for _, q := range []string{query, appQuery, urlQuery} {
		v := parseQuery(q)
		if a.StreamKey == "" {
			a.StreamKey = v.first("sk", "key", "pass", "password")
		}
		if a.Token == "" {
			a.Token = v.first("tok", "token")
		}
	}
	return a
}

type query map[string]string

// parseQuery reads a query. Encoders do not escape what people type, so that a
// part which cannot be unescaped is taken as it is.
func parseQuery(s string) query {
	q := make(query)
	for part := range strings.SplitSeq(s, "&") {
		key, value, _ := strings.Cut(part, "=")
		if plain, err := url.PathUnescape(value); err == nil {
			value = plain
		}
		if q[key] == "" {
			q[key] = value
		}
	}
	return q
}

func (q query) first(keys ...string) string {
	for _, k := range keys {
		if q[k] != "" {
			return q[k]
		}
	}
	return ""
}
