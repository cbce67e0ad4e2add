package moqt

import (
	"maps"
	"slices"
	"sync"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An announced is a namespace that Announce makes available. It outlives the
// PUBLISH_NAMESPACE that tells of it: a peer may refuse that, or revoke its
// answer, and subscribe all the same.
type announced struct {
	sid   streamID
	ns    track.Namespace
	src   track.Source
	reply chan reply // until Announce is answered
}

func (a *announced) answer(c *core, err error) {
	if a.reply != nil {
		c.do(actReply{a.reply, reply{err: err}})
		a.reply = nil
	}
}

func (c *core) announce(ev evAnnounce) {
	a := &announced{sid: ev.sid, ns: ev.ns, src: ev.src, reply: ev.reply}
	err := c.refusal()
	switch {
	case err != nil:
	case reserved(ev.ns):
		err = &RequestError{Code: wire.RequestDoesNotExist, Reason: "reserved namespace"}
	case slices.ContainsFunc(c.announced, func(o *announced) bool { return o.ns == ev.ns }):
		err = &RequestError{Code: wire.RequestDuplicateSubscription, Reason: "the namespace is announced already"}
	}
	if err != nil {
		a.answer(c, err)
		return
	}
	c.announced = append(c.announced, a)
	c.tellWatchers(a.ns, true)
	if c.setup != nil {
		c.offer(a)
	}
}

// offer tells the peer of a namespace unasked, unless it does not want that.
func (c *core) offer(a *announced) {
	if c.solicited() {
		a.answer(c, nil)
		return
	}
	c.request(a.sid, a, wire.PublishNamespace{RequestID: c.takeID(), Namespace: a.ns})
}

func (c *core) withdraw(i int) {
	a := c.announced[i]
	c.announced = slices.Delete(c.announced, i, i+1)
	c.tellWatchers(a.ns, false)
	a.answer(c, errNoAnswer)
}

func (a *announced) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	switch {
	case t == wire.TypeRequestOK && a.reply != nil:
		if _, err := wire.ParseRequestOK(body, st.opener); err != nil {
			return err
		}
		c.timers.Stop(&st.timer)
		c.do(actCount{st.opener.String(), outcomeOK})
		a.answer(c, nil)
		return nil
	case t == wire.TypeRequestError && a.reply != nil:
		e, err := c.requestError(st, body)
		if err != nil {
			return err
		}
		c.finish(st, e)
		return nil
	}
	return violation("%v on the stream of %v", t, st.opener)
}

func (a *announced) fin(c *core, st *stream) error {
	if a.reply != nil {
		c.over(st, errNoAnswer)
		c.abandon(st, wire.ResetCancelled)
	}
	return nil
}

// over takes back what was refused. Otherwise the peer has revoked its answer
// and may still subscribe.
func (a *announced) over(c *core, _ *stream, cause error) {
	if a.reply == nil {
		return
	}
	a.answer(c, unanswered(cause))
	if i := slices.Index(c.announced, a); i >= 0 {
		c.withdraw(i)
	}
}

// An offered is a PUBLISH_NAMESPACE of the peer (section 10.15).
type offered struct{}

func (c *core) openPublishNamespace(st *stream, m wire.PublishNamespace) {
	switch {
	case c.cfg.Handler == nil:
		c.refuse(st, wire.RequestNotSupported, "PUBLISH_NAMESPACE is not supported")
	case c.offered >= c.cfg.Limits.Namespaces:
		c.refuse(st, wire.RequestExcessiveLoad, "too many namespaces")
	default:
		c.offered++
		c.ask(offered{}, st, &PublishNamespaceRequest{request: st.req, Namespace: m.Namespace, Params: m.Params}, nil)
	}
}

func (offered) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	if t != wire.TypeRequestUpdate {
		return violation("%v on the stream of %v", t, st.opener)
	}
	return c.takeUpdate(st, body, unchanged)
}

// fin takes the end of the stream, with which the namespace is withdrawn.
func (offered) fin(c *core, st *stream) error {
	c.finish(st, &StreamError{Code: wire.ResetCancelled, Remote: true})
	return nil
}

func (offered) over(c *core, _ *stream, _ error) { c.offered-- }

// A watching is a SUBSCRIBE_NAMESPACE of the peer (section 10.18).
type watching struct {
	prefix track.Namespace
	// active has who announces a namespace: the handler, the session itself, or
	// both.
	active map[track.Namespace]announcer
	// told has what the peer knows of. What it does not know yet, because the
	// request is not accepted, waits in order.
	told  map[track.Namespace]struct{}
	order []track.Namespace
	moved bool // to another prefix, just now
}

func (c *core) openSubscribeNamespace(st *stream, m wire.SubscribeNamespace) {
	switch {
	case overlaps(c.watchers, st, m.Prefix):
		c.refuse(st, wire.RequestPrefixOverlap, "the prefix overlaps with that of another request")
		return
	case len(c.watchers) >= c.cfg.Limits.Namespaces:
		c.refuse(st, wire.RequestExcessiveLoad, "too many namespace subscriptions")
		return
	}
	w := &watching{prefix: m.Prefix, active: make(map[track.Namespace]announcer), told: make(map[track.Namespace]struct{})}
	c.watchers = append(c.watchers, st)
	for _, a := range c.announced {
		w.change(c, st, a.ns, byUs, true)
	}
	if len(w.active) > c.cfg.Limits.Matches {
		st.role = w // which takes it off the list
		c.refuse(st, wire.RequestNamespaceTooLarge, "too many namespaces match the prefix")
		return
	}
	if c.cfg.Handler == nil {
		st.role = w
		c.accept(st.sid)
		return
	}
	c.ask(w, st, &SubscribeNamespaceRequest{request: st.req, Prefix: m.Prefix, Params: m.Params}, nil)
}

// accept accepts a request about namespaces.
func (c *core) accept(sid streamID) {
	st := c.pendingRequest(sid)
	if st == nil {
		return
	}
	switch w := st.role.(type) {
	case offered:
		c.granted(st, wire.RequestOK{})
	case *watching:
		c.granted(st, wire.RequestOK{})
		for _, ns := range w.order {
			if w.active[ns] != 0 {
				w.send(c, st, ns, true)
			}
		}
		w.order = nil
	case *tracking:
		c.granted(st, wire.RequestOK{})
		waiting := w.waiting
		w.waiting = nil
		for _, ev := range waiting {
			c.offerTrack(ev)
		}
	}
}

// tellNamespace passes on what the handler says of a namespace.
func (c *core) tellNamespace(ev evNamespace) {
	if st := c.streams[ev.sid]; st != nil {
		if w, ok := st.role.(*watching); ok {
			w.change(c, st, ev.ns, byHandler, ev.active)
		}
	}
}

// tellWatchers passes on what the session itself announces.
func (c *core) tellWatchers(ns track.Namespace, active bool) {
	for _, st := range slices.Clone(c.watchers) {
		if w, ok := st.role.(*watching); ok {
			w.change(c, st, ns, byUs, active)
		}
	}
}

// An announcer is who announces a namespace, as bits.
type announcer uint8

const (
	byHandler announcer = 1 << iota
	byUs
)

// change takes note that who announces ns, or no longer, and tells the peer of
// the first and the last.
func (w *watching) change(c *core, st *stream, ns track.Namespace, who announcer, active bool) {
	if !ns.HasPrefix(w.prefix) {
		return
	}
	now := w.active[ns] &^ who
	if active {
		now |= who
	}
	if w.active[ns] = now; now == 0 {
		delete(w.active, ns)
	}
	_, told := w.told[ns]
	switch {
	case (now != 0) == told: // nothing has changed for the peer
	case !st.pending:
		w.send(c, st, ns, active)
	case active && !slices.Contains(w.order, ns):
		w.order = append(w.order, ns)
	}
}

func (w *watching) send(c *core, st *stream, ns track.Namespace, active bool) {
	suffix, _ := ns.TrimPrefix(w.prefix)
	switch {
	case !active:
		delete(w.told, ns)
		c.write(st, wire.NamespaceDone{Suffix: suffix})
	case len(w.told) >= c.cfg.Limits.Matches:
		c.over(st, &RequestError{Code: wire.RequestNamespaceTooLarge, Reason: "too many namespaces match the prefix"})
		c.abandon(st, wire.ResetExcessiveLoad)
	default:
		w.told[ns] = struct{}{}
		c.write(st, wire.NamespaceMsg{Suffix: suffix})
	}
}

// move makes w one for another prefix (section 10.9.2). What the handler has
// announced is forgotten: it announces anew, and the peer is told of what is new
// to it, or gone.
func (w *watching) move(prefix track.Namespace) {
	w.prefix = prefix
	maps.DeleteFunc(w.told, func(ns track.Namespace, _ struct{}) bool { return !ns.HasPrefix(prefix) })
	clear(w.active)
	w.order, w.moved = nil, true
}

// announceAnew tells of what the session itself announces, behind the answer to
// an update that moved the prefix.
func (w *watching) announceAnew(c *core, st *stream) {
	if !w.moved {
		return
	}
	w.moved = false
	for _, a := range c.announced {
		w.change(c, st, a.ns, byUs, true)
	}
}

func (w *watching) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	if t != wire.TypeRequestUpdate {
		return violation("%v on the stream of %v", t, st.opener)
	}
	return c.takeUpdate(st, body, func(p wire.Params) *RequestError {
		e := c.mayMove(st, c.watchers, w.prefix, p)
		if e == nil && p.NamespacePrefix != nil && *p.NamespacePrefix != w.prefix {
			w.move(*p.NamespacePrefix)
		}
		return e
	})
}

// fin takes the end of the stream, with which the request is cancelled.
func (w *watching) fin(c *core, st *stream) error {
	c.finish(st, &StreamError{Code: wire.ResetCancelled, Remote: true})
	return nil
}

func (w *watching) over(c *core, st *stream, _ error) {
	c.watchers = slices.DeleteFunc(c.watchers, func(o *stream) bool { return o == st })
}

// A watch is a SUBSCRIBE_NAMESPACE of ours.
type watch struct {
	prefix   track.Namespace
	queue    *namespaceQueue
	accepted bool
	active   map[track.Namespace]struct{}
}

func (c *core) watch(ev evNamespaces) {
	if err := c.refusal(); err != nil {
		c.do(actNotice{queue: ev.queue, err: err})
		return
	}
	w := &watch{prefix: ev.prefix, queue: ev.queue, active: make(map[track.Namespace]struct{})}
	c.request(ev.sid, w, wire.SubscribeNamespace{RequestID: c.takeID(), Prefix: ev.prefix})
}

func (w *watch) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	switch {
	case t == wire.TypeRequestOK && !w.accepted:
		if _, err := wire.ParseRequestOK(body, st.opener); err != nil {
			return err
		}
		c.timers.Stop(&st.timer)
		c.do(actCount{st.opener.String(), outcomeOK})
		w.accepted = true
		return nil
	case t == wire.TypeRequestError && !w.accepted:
		e, err := c.requestError(st, body)
		if err != nil {
			return err
		}
		c.finish(st, e)
		return nil
	case t == wire.TypeNamespace && w.accepted:
		m, err := wire.ParseNamespaceMsg(body)
		if err != nil {
			return err
		}
		return w.change(c, st, m.Suffix, true)
	case t == wire.TypeNamespaceDone && w.accepted:
		m, err := wire.ParseNamespaceDone(body)
		if err != nil {
			return err
		}
		return w.change(c, st, m.Suffix, false)
	}
	return violation("%v on the stream of %v", t, st.opener)
}

// change takes a namespace that came or went.
func (w *watch) change(c *core, st *stream, suffix track.Namespace, active bool) error {
	ns, err := w.prefix.Join(suffix)
	if err != nil {
		return violation("NAMESPACE: %v", err)
	}
	_, known := w.active[ns]
	switch {
	case active && known: // said twice; tolerated
		return nil
	case !active && !known:
		return violation("NAMESPACE_DONE without NAMESPACE for %v", ns)
	case active && len(w.active) >= c.cfg.Limits.Namespaces:
		c.over(st, &RequestError{Code: wire.RequestNamespaceTooLarge, Reason: "the peer names too many namespaces"})
		c.abandon(st, wire.ResetExcessiveLoad)
		return nil
	case active:
		w.active[ns] = struct{}{}
	default:
		delete(w.active, ns)
	}
	c.do(actNotice{queue: w.queue, ev: track.NamespaceEvent{Namespace: ns, Active: active}})
	return nil
}

// fin takes the end of the answer, with which every namespace is gone.
func (w *watch) fin(c *core, st *stream) error {
	c.finish(st, errEnded)
	return nil
}

var errEnded = &RequestError{Code: wire.RequestInternalError, Reason: "the peer ended the request"}

func (w *watch) over(c *core, _ *stream, cause error) {
	gone := slices.SortedFunc(maps.Keys(w.active), func(a, b track.Namespace) int {
		return slices.Compare(a.Fields(), b.Fields())
	})
	for _, ns := range gone {
		c.do(actNotice{queue: w.queue, ev: track.NamespaceEvent{Namespace: ns}})
	}
	c.do(actNotice{queue: w.queue, err: unanswered(cause)})
}

// A namespaceQueue holds what a reader of Namespaces has not taken yet. A
// namespace that comes and goes meanwhile leaves nothing, so it is bounded by
// how many there are at a time, before and after.
type namespaceQueue struct {
	wake chan struct{} // one slot

	mu     sync.Mutex
	order  []track.Namespace
	latest map[track.Namespace]bool
	told   map[track.Namespace]struct{} // active, as the reader knows it
	err    error
}

func newNamespaceQueue() *namespaceQueue {
	return &namespaceQueue{
		wake:   make(chan struct{}, 1),
		latest: make(map[track.Namespace]bool),
		told:   make(map[track.Namespace]struct{}),
	}
}

func (q *namespaceQueue) put(ev track.NamespaceEvent) {
	q.mu.Lock()
	_, told := q.told[ev.Namespace]
	_, waits := q.latest[ev.Namespace]
	switch {
	case waits && told == ev.Active:
		delete(q.latest, ev.Namespace)
		q.order = slices.DeleteFunc(q.order, func(ns track.Namespace) bool { return ns == ev.Namespace })
	case told != ev.Active:
		if !waits {
			q.order = append(q.order, ev.Namespace)
		}
		q.latest[ev.Namespace] = ev.Active
	}
	q.mu.Unlock()
	q.signal()
}

// end makes err the end of the queue.
func (q *namespaceQueue) end(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.mu.Unlock()
	q.signal()
}

func (q *namespaceQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns what has come since the last call, and the end behind it.
func (q *namespaceQueue) take() ([]track.NamespaceEvent, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []track.NamespaceEvent
	for _, ns := range q.order {
		active := q.latest[ns]
		if active {
			q.told[ns] = struct{}{}
		} else {
			delete(q.told, ns)
		}
		out = append(out, track.NamespaceEvent{Namespace: ns, Active: active})
	}
	q.order = nil
	clear(q.latest)
	return out, q.err
}
