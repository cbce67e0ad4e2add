package sim

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A publisher publishes tracks of a namespace on a session: those that the relay
// subscribes to, or all of them with PUBLISH.
type publisher struct {
	sc       *scene
	name     string
	ns       track.Namespace
	tracks   []*encoder
	push     bool    // it offers its tracks with PUBLISH
	mute     bool    // it never answers a SUBSCRIBE
	strict   bool    // its tracks begin behind the largest object
	faults   float64 // how often a stream is cut or left out
	twists   float64 // how often an object is another than it should be
	impostor bool    // all its objects are wrong
	cl       *client
	feeds    []*feed
	ann      *request
	aliases  uint64
	leaving  bool // it does not come back
	follows  bool // it asks for the tracks of others
	// following: it has, on the connection that it has now.
	following bool
	sent      []*lane
}

// A feed is a track on its way to the relay.
type feed struct {
	p       *publisher
	e       *encoder
	req     *request
	alias   uint64
	start   wire.Location
	forward bool
	live    bool
	over    bool
	lanes   []*lane // that are open
	opened  uint64
}

// A lane is a stream of one subgroup.
type lane struct {
	plan     *plan
	header   int64 // its length, in bytes
	whole    bool  // it begins with the first object
	group    uint64
	subgroup uint64
	out      *writer
	ids      wire.ObjectIDs
	dead     bool // cut, or never opened: nothing more goes there
	read     int64
	stuck    time.Time // since when the relay has read no more than that
}

func (p *publisher) connect() {
	w := p.sc.w
	if p.leaving {
		return
	}
	c := p.sc.dial(p.name)
	p.feeds, p.ann = nil, nil
	p.cl = w.newClient(p.name, c, p)
}

// lost reconnects, after a while.
func (p *publisher) lost(err error) {
	p.sc.lost(p.name, err, p.twists > 0)
	p.feeds = nil
	p.sc.w.after(p.sc.w.between(10*time.Millisecond, 900*time.Millisecond), p.connect)
}

func (p *publisher) ready() {
	p.following = false
	if !p.push {
		p.ann = p.cl.request(wire.PublishNamespace{RequestID: p.cl.id(), Namespace: p.ns}, p.announced, nil)
		return
	}
	for _, e := range p.tracks {
		p.offer(e)
	}
}

func (p *publisher) announced(t wire.MessageType, body []byte) {
	if t != wire.TypeRequestOK && t != wire.TypeRequestError {
		p.sc.w.fail("protocol", "%s: %v in answer to PUBLISH_NAMESPACE", p.name, t)
	}
}

// offer offers a track with PUBLISH.
func (p *publisher) offer(e *encoder) {
	p.aliases++
	f := &feed{p: p, e: e, alias: p.aliases, forward: true, start: wire.Location{Group: e.p.made.Group}}
	m := wire.Publish{RequestID: p.cl.id(), Track: e.p.name, TrackAlias: f.alias, Params: wire.Params{LargestObject: e.largest()}}
	p.feeds = append(p.feeds, f)
	f.req = p.cl.request(m, func(t wire.MessageType, body []byte) {
		switch t {
		case wire.TypeRequestOK:
			if p.impostor {
				p.sc.w.fail("I11 displaced", "%s: the relay takes %v, which a publisher in the process has", p.name, e.p.name)
			}
			ok, err := wire.ParseRequestOK(body, wire.TypePublish)
			if err != nil {
				p.sc.w.fail("protocol", "%s: %v", p.name, err)
			}
			p.sc.answered(p.name, "PUBLISH", f.req)
			f.forward = ok.Params.Forward == nil || *ok.Params.Forward
			f.begin()
			p.follow()
		case wire.TypeRequestUpdate:
			f.update(body)
		case wire.TypeRequestError:
			f.live = false
			f.again()
		}
	}, func(error) { f.again() })
}

// again offers the track once more, some time after the relay has had enough.
func (f *feed) again() {
	p, cl := f.p, f.p.cl
	f.end()
	if f.over {
		return
	}
	f.over = true
	p.sc.w.after(p.sc.w.between(300*time.Millisecond, time.Second), func() {
		if p.cl == cl && !cl.gone && !p.sc.ending {
			p.offer(f.e)
		}
	})
}

// largest returns the largest object that was made.
func (e *encoder) largest() *wire.Location {
	p := e.p
	switch {
	case p.made.Object > 0:
		k := min(int(p.made.Object), p.objects) - 1
		return &wire.Location{Group: p.made.Group, Object: p.item(p.made.Group, k).id}
	case p.made.Group > p.group(0):
		return &wire.Location{Group: p.made.Group - 1, Object: p.item(p.made.Group-1, p.objects-1).id}
	}
	return nil
}

// asked takes a request of the relay.
func (p *publisher) asked(r *request, t wire.MessageType, body []byte) {
	if p.impostor && (t == wire.TypeSubscribe || t == wire.TypeFetch) {
		p.sc.w.fail("I11 displaced", "%s is asked for what a publisher in the process has: %v", p.name, t)
	}
	if t == wire.TypeFetch {
		p.fetched(r, body)
		return
	}
	if t == wire.TypePublish {
		p.offered(r, body)
		return
	}
	if t != wire.TypeSubscribe {
		r.out.message(wire.RequestError{Code: wire.RequestNotSupported})
		r.finish()
		return
	}
	m, err := wire.ParseSubscribe(body)
	if err != nil {
		p.sc.w.fail("protocol", "%s: %v", p.name, err)
	}
	if p.mute && !p.sc.w.calm {
		return
	}
	i := slices.IndexFunc(p.tracks, func(e *encoder) bool { return e.p.name == m.Track })
	if i < 0 {
		r.out.message(wire.RequestError{Code: wire.RequestDoesNotExist})
		r.finish()
		return
	}
	p.aliases++
	f := &feed{p: p, e: p.tracks[i], req: r, alias: p.aliases, forward: true}
	if m.Params.Forward != nil {
		f.forward = *m.Params.Forward
	}
	at := f.e.largest()
	f.start = wire.Location{Group: f.e.p.made.Group}
	if p.strict && at != nil {
		f.start = wire.Location{Group: at.Group, Object: at.Object + 1}
	}
	if fl := m.Params.Filter; fl != nil {
		switch fl.Type {
		case wire.FilterNextGroupStart:
			if at != nil {
				f.start = wire.Location{Group: at.Group + 1}
			}
		case wire.FilterAbsoluteStart, wire.FilterAbsoluteRange:
			if f.start.Less(fl.Start) {
				f.start = fl.Start
			}
		}
	}
	p.feeds = append(p.feeds, f)
	r.message = func(t wire.MessageType, body []byte) {
		if t == wire.TypeRequestUpdate {
			f.update(body)
		}
	}
	r.ended = func(error) { f.end() }
	r.out.message(wire.SubscribeOK{TrackAlias: f.alias, Params: wire.Params{LargestObject: at}})
	f.begin()
}

func (p *publisher) data(s *inStream) sink {
	p.sc.w.fail("nothing invented", "%s: the relay sends objects to a publisher", p.name)
	return nil
}

// made takes a new object of a track.
func (p *publisher) made(e *encoder, group uint64, k int) {
	for _, f := range slices.Clone(p.feeds) {
		if f.e == e && f.live {
			f.send(group, k)
		}
	}
}

// restarted cuts what will never be finished.
func (p *publisher) restarted(e *encoder) {
	for _, f := range p.feeds {
		if f.e == e {
			for _, l := range f.lanes {
				l.cut(wire.ResetCancelled)
			}
			f.lanes = nil
		}
	}
}

// update takes a REQUEST_UPDATE.
func (f *feed) update(body []byte) {
	m, err := wire.ParseRequestUpdate(body, f.req.opener)
	if err != nil {
		f.p.sc.w.fail("protocol", "%s: %v", f.p.name, err)
	}
	f.req.out.message(wire.RequestOK{})
	if m.Params.Forward == nil {
		return
	}
	was := f.forward
	f.forward = *m.Params.Forward
	switch {
	case !f.forward:
		for _, l := range f.lanes {
			l.cut(wire.ResetCancelled)
		}
		f.lanes = nil
	case !was:
		f.start = wire.Location{Group: f.e.p.made.Group}
		f.catchUp()
	}
}

// begin starts the feed with what there is of the current group.
func (f *feed) begin() {
	f.live = true
	f.catchUp()
}

func (f *feed) catchUp() {
	p := f.e.p
	if !f.forward {
		return
	}
	for k := range int(p.made.Object) {
		f.send(p.made.Group, k)
	}
}

// end ends the feed without a word.
func (f *feed) end() {
	f.live = false
	for _, l := range f.lanes {
		l.cut(wire.ResetCancelled)
	}
	f.lanes = nil
	f.p.feeds = slices.DeleteFunc(f.p.feeds, func(o *feed) bool { return o == f })
}

// done ends the feed with PUBLISH_DONE.
func (f *feed) done() {
	f.live = false
	f.req.out.message(wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: f.opened})
	f.req.finish()
}

// send sends one item, if it lies within the filter.
func (f *feed) send(group uint64, k int) {
	p, w := f.e.p, f.p.sc.w
	it := p.item(group, k)
	loc := wire.Location{Group: group, Object: it.id}
	if !f.forward || loc.Less(f.start) {
		return
	}
	if p.datagrams {
		b := p.datagram(f.alias, group, k)
		if f.p.impostor {
			b[len(b)-1] ^= 0x55
		}
		_ = f.p.cl.c.SendDatagram(b) // what finds no room is lost
		return
	}
	l := f.lane(group, it.subgroup, k)
	if l.dead {
		return
	}
	faults, twists := f.p.faults, f.p.twists
	if w.calm {
		faults, twists = 0, 0
	}
	b := p.appendObject(nil, group, k, &l.ids)
	switch {
	case f.p.impostor:
		b[len(b)-1] ^= 0x55
	case w.chance(twists) && it.size > 0:
		b[len(b)-1] ^= 0x55
		f.p.sc.twisted[f.p.name] = true
	}
	if w.chance(faults / 4) { // at any byte
		l.out.write(b[:w.number(0, len(b))])
		l.cut(pick(w, wire.ResetInternalError, wire.ResetCancelled, wire.ResetDeliveryTimeout, wire.ResetTooFarBehind))
		return
	}
	l.out.write(b)
	if it.last {
		l.out.close()
		l.dead = true
		f.lanes = slices.DeleteFunc(f.lanes, func(o *lane) bool { return o == l })
	}
}

// lane returns the stream of a subgroup, and opens it with item k if it is new.
func (f *feed) lane(group, subgroup uint64, k int) *lane {
	for _, l := range f.lanes {
		if l.group == group && l.subgroup == subgroup {
			return l
		}
	}
	w := f.p.sc.w
	l := &lane{stuck: w.now, plan: f.e.p, group: group, subgroup: subgroup, out: &writer{cl: f.p.cl}}
	f.lanes = append(f.lanes, l)
	// Streams of groups that are long over are not kept waiting for their end.
	if len(f.lanes) > 32 {
		f.lanes[0].cut(wire.ResetTooFarBehind)
		f.lanes = slices.Delete(f.lanes, 0, 1)
	}
	if !w.calm && w.chance(f.p.faults/8) {
		l.dead = true // never sent
		return l
	}
	s, err := f.p.cl.c.OpenUniStream()
	if err != nil {
		l.dead = true
		return l
	}
	f.opened++
	l.out.e = s.(*end)
	l.whole = k == int(subgroup)
	head := f.e.p.header(f.alias, group, subgroup, l.whole).Append(nil)
	l.header = int64(len(head))
	if f.p.sent = append(f.p.sent, l); len(f.p.sent) > 64 {
		f.p.sent = slices.Delete(f.p.sent, 0, 16)
	}
	l.out.write(head)
	return l
}

// cut resets the stream.
func (l *lane) cut(code wire.ResetCode) {
	l.dead = true
	l.out.reset(code)
}
