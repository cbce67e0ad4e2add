package moqt

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A hold is what a subscription of ours does to its publisher.
type hold struct {
	s       *Session
	sid     streamID
	once    sync.Once
	expires atomic.Pointer[time.Time]
}

func (h *hold) Update(u track.SubscribeUpdate) {
	if !h.s.call(evUpdate{h.sid, u}) && u.Done != nil {
		u.Done(track.Updated{}, h.s.err)
	}
}

func (h *hold) Expires() time.Time {
	if at := h.expires.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

func (h *hold) setExpires(at time.Time) { h.expires.Store(&at) }

func (h *hold) Release() {
	h.once.Do(func() { h.s.call(evCancel{sid: h.sid, code: wire.ResetCancelled}) })
}

// An updating sends the REQUEST_UPDATEs of a subscription of ours (section
// 10.9.1), one at a time. What is wanted meanwhile goes into the next one, so
// that a peer is never asked faster than it answers.
type updating struct {
	sent, want *update // nil: none
	timer      timer   // of the answer to sent
	mute       bool    // the answer is late
}

// An update is one REQUEST_UPDATE, and whom its answer is for.
type update struct {
	params wire.Params
	done   []func(track.Updated, error)
}

func (c *core) tellUpdated(u *update, r track.Updated, err error) {
	for _, f := range u.done {
		c.do(actUpdated{f, r, err})
	}
	u.done = nil
}

// errNoSubscription is why a subscription cannot be updated.
var errNoSubscription = &RequestError{Code: wire.RequestDoesNotExist, Reason: "the subscription has ended"}

// update takes what the application wants to change.
func (c *core) update(ev evUpdate) {
	next := &update{params: updateParams(ev.u)}
	if ev.u.Done != nil {
		next.done = append(next.done, ev.u.Done)
	}
	var f *feed
	if st := c.streams[ev.sid]; st != nil {
		f, _ = st.role.(*feed)
	}
	switch {
	case f == nil || f.done != nil:
		c.tellUpdated(next, track.Updated{}, errNoSubscription)
	case f.upd.mute:
		c.tellUpdated(next, track.Updated{}, errMute)
	case f.upd.want != nil:
		w := f.upd.want
		merge(&w.params, next.params)
		w.params.Tokens = addTokens(w.params.Tokens, next.params.Tokens)
		w.done = append(w.done, next.done...)
	default:
		f.upd.want = next
		f.sendUpdate(c)
	}
}

// errTokensTooLarge is why a message cannot be sent that has nothing else in it
// that could be.
var errTokensTooLarge = &RequestError{Code: wire.RequestInternalError, Reason: "the tokens are too large for a message"}

// errMute is why an update fails whose answer does not come.
var errMute = &RequestError{Code: wire.RequestTimeout, Reason: "no answer to REQUEST_UPDATE"}

// updateParams returns what a REQUEST_UPDATE says for u.
func updateParams(u track.SubscribeUpdate) wire.Params {
	p := wire.Params{
		ObjectDeliveryTimeout: u.DeliveryTimeout, SubgroupDeliveryTimeout: u.SubgroupTimeout,
		Forward: u.Forward, SubscriberPriority: u.Priority, NewGroupRequest: u.NewGroup,
		Tokens: byValue(u.Tokens),
	}
	if u.Start != nil {
		p.Filter = filter(*u.Start, u.EndGroup)
	}
	return p
}

// filter returns the subscription filter of a start and the last group.
func filter(s track.Start, end *uint64) *wire.Filter {
	l, at := s.Location()
	switch {
	case at && end != nil:
		return &wire.Filter{Type: wire.FilterAbsoluteRange, Start: l, EndGroup: max(*end, l.Group)}
	case at:
		return &wire.Filter{Type: wire.FilterAbsoluteStart, Start: l}
	case s == track.NextGroup:
		return &wire.Filter{Type: wire.FilterNextGroupStart}
	}
	return &wire.Filter{Type: wire.FilterLargestObject}
}

// byValue returns tokens as ones that stand for themselves. One that is there
// twice goes once (section 10.2.2).
func byValue(tokens []wire.Token) []wire.Token { return addTokens(nil, tokens) }

func addTokens(to, tokens []wire.Token) []wire.Token {
	for _, t := range tokens {
		t = wire.Token{AliasType: wire.TokenUseValue, Type: t.Type, Value: t.Value}
		same := func(o wire.Token) bool { return o.Type == t.Type && bytes.Equal(o.Value, t.Value) }
		if len(to) < wire.MaxTokens && !slices.ContainsFunc(to, same) {
			to = append(to, t)
		}
	}
	return to
}

// sendUpdate sends what is wanted, unless an answer is still to come or the
// subscription is not established.
func (f *feed) sendUpdate(c *core) {
	u := &f.upd
	if u.want == nil || u.sent != nil || !f.live || f.done != nil {
		return
	}
	next := u.want
	u.want = nil
	if !f.dynamic {
		next.params.NewGroupRequest = nil
	}
	m := wire.RequestUpdate{RequestID: c.nextID, Params: next.params}
	if !fits(m) {
		c.tellUpdated(next, track.Updated{}, errTokensTooLarge)
		return
	}
	c.takeID()
	u.sent = next
	c.write(f.st, m)
	c.arm(&u.timer, c.cfg.ResponseTimeout, func() error {
		// The subscription goes on: media that flows is worth more than an
		// answer. It may still come.
		u.mute = true
		c.failUpdates(u, errMute)
		return nil
	})
}

// failUpdates tells those who wait for an answer that there is none.
func (c *core) failUpdates(u *updating, err error) {
	for _, w := range []*update{u.sent, u.want} {
		if w != nil {
			c.tellUpdated(w, track.Updated{}, err)
		}
	}
	u.want = nil
}

// endUpdates fails what waits for an answer, because the subscription ends.
func (c *core) endUpdates(f *feed, cause error) {
	c.timers.Stop(&f.upd.timer)
	c.failUpdates(&f.upd, cause)
	f.upd.sent = nil
}

// updated takes the answer to a REQUEST_UPDATE of ours.
func (f *feed) updated(c *core, t wire.MessageType, body []byte) error {
	u := &f.upd
	if t == wire.TypeRequestError {
		m, err := wire.ParseRequestError(body, f.st.opener)
		if err != nil {
			return err
		}
		e, err := c.errorOf(m)
		if err != nil {
			return err
		}
		c.timers.Stop(&u.timer)
		c.do(actCount{wire.TypeRequestUpdate.String(), outcomeRefused})
		c.failUpdates(u, e)
		u.sent = nil
		return nil // PUBLISH_DONE follows
	}
	m, err := wire.ParseRequestOK(body, wire.TypeRequestUpdate)
	if err != nil {
		return err
	}
	c.timers.Stop(&u.timer)
	c.do(actCount{wire.TypeRequestUpdate.String(), outcomeOK})
	r := track.Updated{Expires: c.expiry(m.Params.Expires)}
	if l := m.Params.LargestObject; l != nil {
		r.Largest, r.Some = *l, true
		f.report(l)
	}
	if m.Params.Expires != nil { // else what was said before stands
		c.do(actExpires{f.hold, r.Expires})
	}
	c.tellUpdated(u.sent, r, nil)
	u.sent, u.mute = nil, false
	f.sendUpdate(c)
	return nil
}

// expiry returns when what a peer said now expires, zero if it does not.
func (c *core) expiry(d *time.Duration) time.Time {
	if d == nil || *d <= 0 {
		return time.Time{}
	}
	return c.now.Add(*d)
}
