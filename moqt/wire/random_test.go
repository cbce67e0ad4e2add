package wire

import (
	"math/rand/v2"
	"strings"
	"time"
)

// A source draws messages at random; the same seed draws the same ones.
type source struct{ *rand.Rand }

func newSource(seed uint64) source { return source{rand.New(rand.NewPCG(seed, 18))} }

func (r source) yes() bool { return r.IntN(2) == 0 }

// id draws an integer with any number of bits.
func (r source) id() uint64 { return r.Uint64() >> r.IntN(64) }

func (r source) bytes(most int) []byte {
	b := make([]byte, r.IntN(most+1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	if len(b) == 0 {
		return nil
	}
	return b
}

// text draws UTF-8.
func (r source) text(most int) string {
	return strings.Repeat("aé€😀", most)[:r.IntN(most/10+1)*10]
}

func (r source) namespace() Namespace {
	fields := make([]string, r.IntN(5))
	for i := range fields {
		fields[i] = "f" + string(r.bytes(200))
	}
	return MustNamespace(fields...)
}

func (r source) track() FullTrackName { return FullTrackName{r.namespace(), string(r.bytes(200))} }

func (r source) location() Location { return Location{r.id(), r.id()} }

// millis draws what the other codec can hold too, 62 bits.
func (r source) millis() *time.Duration {
	return new(time.Duration(r.Uint64N(maxMillis)>>r.IntN(40)) * time.Millisecond)
}

func (r source) tokens() []Token {
	var tokens []Token
	for range r.IntN(3) {
		t := Token{AliasType: AliasType(r.IntN(4))}
		if t.AliasType != TokenUseValue {
			t.Alias = r.id()
		}
		if t.AliasType == TokenRegister || t.AliasType == TokenUseValue {
			t.Type, t.Value = r.id(), r.bytes(40)
		}
		tokens = append(tokens, t)
	}
	return tokens
}

func (r source) filter() *Filter {
	f := &Filter{Type: FilterType(1 + r.IntN(4))}
	if f.Type >= FilterAbsoluteStart {
		f.Start = r.location()
	}
	if f.Type == FilterAbsoluteRange {
		f.EndGroup = f.Start.Group + r.Uint64()%(maxID-f.Start.Group|1)
		f.EndGroup = max(f.EndGroup, f.Start.Group)
	}
	return f
}

// params draws a random part of the legal parameters.
func (r source) params(legal paramSet) Params {
	has := func(typ uint64) bool { return legal&(1<<typ) != 0 && r.yes() }
	var p Params
	if has(paramObjectDeliveryTimeout) {
		p.ObjectDeliveryTimeout = r.millis()
	}
	if has(paramToken) {
		p.Tokens = r.tokens()
	}
	if has(paramRendezvousTimeout) {
		p.RendezvousTimeout = r.millis()
	}
	if has(paramSubgroupDeliveryTimeout) {
		p.SubgroupDeliveryTimeout = r.millis()
	}
	if has(paramExpires) {
		p.Expires = r.millis()
	}
	if has(paramLargestObject) {
		p.LargestObject = new(r.location())
	}
	if has(paramFillTimeout) {
		p.FillTimeout = r.millis()
	}
	if has(paramForward) {
		p.Forward = new(r.yes())
	}
	if has(paramSubscriberPriority) {
		p.SubscriberPriority = new(uint8(r.Uint32()))
	}
	if has(paramFilter) {
		p.Filter = r.filter()
	}
	if has(paramGroupOrder) {
		p.GroupOrder = GroupOrder(1 + r.IntN(2))
	}
	if has(paramNewGroupRequest) {
		p.NewGroupRequest = new(r.id() >> 2)
	}
	if has(paramNamespacePrefix) {
		p.NamespacePrefix = new(r.namespace())
	}
	return p
}

// properties draws unknown properties, which have any value.
func (r source) properties() Properties {
	var kvs []KeyValue
	for range r.IntN(4) {
		kv := KeyValue{Type: 0x8000 + r.Uint64N(1<<20)}
		if kv.Type%2 == 0 {
			kv.Uint = r.id()
		} else {
			kv.Bytes = r.bytes(40)
		}
		kvs = append(kvs, kv)
	}
	return NewProperties(kvs...)
}

// messages draws one message of every type.
func (r source) messages() []sample {
	setup := Setup{Tokens: r.tokens(), MaxAuthTokenCacheSize: r.id(), Implementation: r.text(100)}
	goaway := Goaway{NewSessionURI: r.text(100), Timeout: *r.millis(), RequestID: new(r.id())}
	failure := RequestError{Code: RequestCode(r.id()), Reason: r.text(100)}
	if failure.Code == RequestRedirect || r.yes() {
		failure.Code = RequestRedirect
		failure.Redirect = &Redirect{ConnectURI: r.text(100), Track: r.track()}
	}
	if r.yes() {
		failure.Retry, failure.RetryAfter = true, *r.millis()
	}
	standalone := Fetch{RequestID: r.id(), FetchType: FetchStandalone, Track: r.track(), Start: r.location(), Params: r.params(fetchParams)}
	standalone.End = Location{Group: max(standalone.Start.Group, r.id())} // theirs wants a range in order
	return []sample{
		{"random SETUP", setup, 0},
		{"random GOAWAY", goaway, TypeSetup},
		{"random SUBSCRIBE", Subscribe{r.id(), r.track(), r.params(subscribeParams)}, 0},
		{"random SUBSCRIBE_OK", SubscribeOK{r.id(), r.params(subscribeOKParams), r.properties()}, 0},
		{"random REQUEST_UPDATE", RequestUpdate{r.id(), r.params(updateSubscriptionParams)}, TypeSubscribe},
		{"random REQUEST_UPDATE of a prefix", RequestUpdate{r.id(), r.params(updatePrefixParams)}, TypeSubscribeNamespace},
		{"random REQUEST_OK to PUBLISH", RequestOK{r.params(publishOKParams), nil}, TypePublish},
		{"random REQUEST_OK to TRACK_STATUS", RequestOK{r.params(subscribeOKParams), r.properties()}, TypeTrackStatus},
		{"random REQUEST_ERROR", failure, TypeSubscribe},
		{"random PUBLISH", Publish{r.id(), r.track(), r.id(), r.params(publishParams), r.properties()}, 0},
		{"random PUBLISH_DONE", PublishDone{PublishDoneCode(r.id()), r.id(), r.text(100)}, 0},
		{"random FETCH", standalone, 0},
		{"random joining FETCH", Fetch{
			RequestID: r.id(), FetchType: FetchType(2 + r.IntN(2)), JoiningRequestID: r.id(), JoiningStart: r.id(),
			Params: r.params(fetchParams),
		}, 0},
		{"random FETCH_OK", FetchOK{r.yes(), r.location(), Params{}, r.properties()}, 0},
		{"random TRACK_STATUS", TrackStatus{r.id(), r.track(), r.params(tokenOnly)}, 0},
		{"random PUBLISH_NAMESPACE", PublishNamespace{r.id(), r.namespace(), r.params(tokenOnly)}, 0},
		{"random SUBSCRIBE_NAMESPACE", SubscribeNamespace{r.id(), r.namespace(), r.params(tokenOnly)}, 0},
		{"random SUBSCRIBE_TRACKS", SubscribeTracks{r.id(), r.namespace(), r.params(subscribeTracksParams)}, 0},
		{"random NAMESPACE", NamespaceMsg{r.namespace()}, 0},
		{"random NAMESPACE_DONE", NamespaceDone{r.namespace()}, 0},
		{"random PUBLISH_BLOCKED", PublishBlocked{r.namespace(), string(r.bytes(200))}, 0},
	}
}
