package e2e_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
	"github.com/broadcastd/broadcastd/test/harness"
)

// What follows is a client of the streams contract written from its text alone:
// tRPC over net/http, and MoQ sessions of which it knows URLs, names, tracks and
// close reasons. It shares no code with package client.

// A sdk calls the control plane of an organisation.
type sdk struct {
	t    *testing.T
	base string // origin of the control plane
	key  string
	org  string
}

// A refusal is a failure envelope.
type refusal struct {
	status  int // of HTTP
	Message string
	Code    int
	Data    struct {
		Code       string
		HTTPStatus int
		Path       string
	}
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s: %s", r.status, r.Data.Code, r.Message) }

// A object is a decoded JSON object.
type object = map[string]any

// query calls a query, mutate a mutation. Their data is what the result holds.
func (s sdk) query(procedure string, payload object) (any, error) {
	s.t.Helper()
	input := s.payload(payload)
	return s.do(procedure, http.MethodGet, s.base+"/api/trpc/"+procedure+"?input="+url.QueryEscape(string(input)), nil)
}

func (s sdk) mutate(procedure string, payload object) (any, error) {
	s.t.Helper()
	return s.do(procedure, http.MethodPost, s.base+"/api/trpc/"+procedure, s.payload(payload))
}

// row is the data of a mutation that must succeed and be an object.
func (s sdk) row(procedure string, payload object) object {
	s.t.Helper()
	data, err := s.mutate(procedure, payload)
	return s.object(procedure, data, err)
}

// got is the data of a query that must succeed and be an object.
func (s sdk) got(procedure string, payload object) object {
	s.t.Helper()
	data, err := s.query(procedure, payload)
	return s.object(procedure, data, err)
}

func (s sdk) object(procedure string, data any, err error) object {
	s.t.Helper()
	row, ok := data.(object)
	if err != nil || !ok {
		s.t.Fatalf("%s: %v, %v, want an object", procedure, data, err)
	}
	return row
}

// list is the data of a query that must succeed and be an array.
func (s sdk) list(procedure string, payload object) []any {
	s.t.Helper()
	data, err := s.query(procedure, payload)
	rows, ok := data.([]any)
	if err != nil || !ok {
		s.t.Fatalf("%s: %v, %v, want an array", procedure, data, err)
	}
	return rows
}

func (s sdk) payload(payload object) []byte {
	s.t.Helper()
	all := object{"orgId": s.org}
	for k, v := range payload {
		all[k] = v
	}
	out, err := json.Marshal(all)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s sdk) do(procedure, method, target string, body []byte) (any, error) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("content-type", "application/json")
	}
	if s.key != "" {
		req.Header.Set("authorization", "Bearer "+s.key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatalf("%s: %v", procedure, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s: %v", procedure, err)
	}
	var envelope struct {
		Result *struct{ Data any }
		Error  *refusal
	}
	if err := json.Unmarshal(text, &envelope); err != nil {
		s.t.Fatalf("%s: %s: %v in %.200s", procedure, res.Status, err, text)
	}
	switch {
	case envelope.Error != nil:
		envelope.Error.status = res.StatusCode
		return nil, envelope.Error
	case envelope.Result == nil || res.StatusCode != http.StatusOK:
		s.t.Fatalf("%s: %s with %.200s", procedure, res.Status, text)
	}
	return envelope.Result.Data, nil
}

// A moq is one MoQ session of the data plane.
type moq struct {
	*moqt.Session
	ended chan struct{} // closed once err is set
	err   error
}

// connect connects to a URL of either scheme: the path is the input, its query the
// credential.
func connect(t *testing.T, d *harness.Daemon, target string) (*moq, error) {
	t.Helper()
	pin, err := hex.DecodeString(d.CertHash(t))
	if err != nil {
		t.Fatal(err)
	}
	authority, path, err := transport.SetupOptions(target)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := transport.Dial(ctx, target, transport.DialConfig{CertSHA256: [][]byte{pin}})
	if err != nil {
		return nil, err
	}
	s, err := moqt.NewSession(conn, moqt.Config{Authority: authority, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	m := &moq{Session: s, ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		m.err = s.Run(running)
	}()
	t.Cleanup(func() {
		stop()
		<-m.ended
	})
	return m, nil
}

// closeReason is what the contract calls the end of a session or a request.
func closeReason(err error) string {
	authCodes := map[uint64]bool{
		uint64(wire.RequestUnauthorized): true, uint64(wire.RequestMalformedAuthToken): true, uint64(wire.RequestExpiredAuthToken): true,
	}
	if ended, ok := errors.AsType[*moqt.SessionError](err); ok {
		if ended.Remote && ended.Code == wire.SessionUnauthorized && strings.Contains(ended.Reason, "auth") {
			return "auth_failed"
		}
		return "network"
	}
	if refused, ok := errors.AsType[*track.RequestError](err); ok {
		if authCodes[uint64(refused.Code)] && strings.Contains(refused.Reason, "auth") {
			return "auth_failed"
		}
		return "network"
	}
	if done, ok := errors.AsType[*track.EndError](err); ok {
		if done.Code == track.DoneUnauthorized && strings.Contains(done.Reason, "auth") {
			return "auth_failed"
		}
		return "network"
	}
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return "complete"
	case errors.Is(err, context.Canceled):
		return "closed_by_caller"
	}
	return "network"
}

// A publication is a publisher that sends an encoder's output as the contract's
// simple clients do: each box an object of the track "broadcast", the first one
// with priority 0 and the others with 1.
type publication struct {
	session *moq
	track   *track.Track
	encoder *harness.Proc
	pipe    *io.PipeWriter // from the encoder
	done    chan error     // of sending
}

// publish sends moving pictures to a live input, until the test or the session
// ends.
func publish(t *testing.T, d *harness.Daemon, target string, namespace ...string) (*publication, error) {
	t.Helper()
	return publishAs(t, d, target, nil, namespace...)
}

// publishAs is publish with properties of the track, and offers the track itself
// then.
func publishAs(t *testing.T, d *harness.Daemon, target string, hints track.Properties, namespace ...string) (*publication, error) {
	t.Helper()
	m, err := connect(t, d, target)
	if err != nil {
		return nil, err
	}
	ns := track.MustNamespace(namespace...)
	out, in := io.Pipe()
	p := &publication{session: m, pipe: in, done: make(chan error, 1)}
	p.track = track.New(track.Name{Namespace: ns, Name: "broadcast"}, track.Info{Properties: hints}, track.Config{Roll: true})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if hints != nil {
		_, err = m.Publish(ctx, p.track)
	} else {
		_, err = m.Announce(ctx, ns, p)
	}
	if err != nil {
		return nil, err
	}
	args := append([]string{"-hide_banner", "-nostdin", "-loglevel", "error"}, harness.TestPicture{Size: "320x180"}.Args()...)
	cmd := exec.Command(harness.Tool(t, "ffmpeg"), append(append(args, harness.FMP4()...), "-")...)
	cmd.Stdout = in
	p.encoder = harness.StartProc(t, "ffmpeg", cmd)
	go func() {
		err := p.send(out)
		out.CloseWithError(io.ErrClosedPipe)
		p.done <- err
	}()
	return p, nil
}

// Track implements track.Source.
func (p *publication) Track(name string) (*track.Track, bool) { return p.track, name == "broadcast" }

// send writes each box as an object: the first one in a subgroup of its own,
// because a subgroup has one priority, and a new group every eight fragments.
func (p *publication) send(in io.Reader) error {
	var w *track.SubgroupWriter
	cut := func(h track.SubgroupHeader) (err error) {
		if w != nil {
			err = w.Close()
		}
		if err == nil {
			h.HasPriority, h.FirstObject = true, true
			w, err = p.track.Subgroup(h)
		}
		return err
	}
	group, next, fragments := uint64(0), uint64(0), 0
	for n := 0; ; n++ {
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		box := make([]byte, binary.BigEndian.Uint32(head[:4]))
		copy(box, head[:])
		if _, err := io.ReadFull(in, box[8:]); err != nil {
			return err
		}
		moof := string(head[4:]) == "moof"
		var err error
		switch {
		case n == 0:
			err = cut(track.SubgroupHeader{Priority: 0})
		case n == 1:
			err = cut(track.SubgroupHeader{Subgroup: 1, Priority: 1})
		case moof && fragments > 0 && fragments%8 == 0:
			group, next = group+1, 0
			err = cut(track.SubgroupHeader{Group: group, Priority: 1})
		}
		if err != nil {
			return err
		}
		if moof {
			fragments++
		}
		if err := w.WriteObject(track.Object{ID: next, Payload: box}); err != nil {
			return err
		}
		next++
	}
}

// A chunk is what the contract hands to a viewer.
type chunk struct {
	data      []byte
	timestamp uint64 // µs
	stamped   bool
	priority  uint8
	isInit    bool
}

// A watcher reads the track "broadcast" of a session.
type watcher struct {
	session *moq
	chunks  chan chunk
	ended   chan error // one: why it ended
	sub     *track.Subscription
	header  []byte  // the init segment
	early   []chunk // media that came before it: the two are on streams of their own
}

// take hands a chunk on: the init segment first, and once.
func (w *watcher) take(c chunk) {
	switch {
	case len(c.data) == 0, c.isInit && bytes.Equal(c.data, w.header):
		return // each group repeats the header
	case w.header == nil && !c.isInit:
		w.early = append(w.early, c)
		return
	}
	if c.isInit {
		w.header = c.data
	}
	for _, c := range append([]chunk{c}, w.early...) {
		select {
		case w.chunks <- c:
		default: // nobody looks any more
		}
	}
	w.early = nil
}

// watch subscribes by the URL's own path as the namespace, or by another one.
func watch(t *testing.T, d *harness.Daemon, target string, namespace ...string) (*watcher, error) {
	t.Helper()
	m, err := connect(t, d, target)
	if err != nil {
		return nil, err
	}
	sub, err := m.subscribe(t, "broadcast", namespace...)
	if err != nil {
		return nil, err
	}
	w := &watcher{session: m, chunks: make(chan chunk, 4096), ended: make(chan error, 1), sub: sub}
	go func() {
		defer close(w.chunks)
		r := sub.Track().NewReader(track.CurrentGroup)
		for {
			g, err := r.NextGroup(context.Background())
			if err != nil {
				w.ended <- err
				return
			}
			for {
				o, err := g.Next(context.Background())
				if err != nil {
					break // the group is over, or was cut: the next one tells
				}
				w.take(chunkOf(o))
			}
		}
	}()
	return w, nil
}

func (m *moq) subscribe(t *testing.T, name string, namespace ...string) (*track.Subscription, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return m.Subscribe(ctx, track.Name{Namespace: track.MustNamespace(namespace...), Name: name}, track.SubscribeOptions{})
}

func chunkOf(o track.Object) chunk {
	c := chunk{data: o.Payload, priority: o.Priority, isInit: len(o.Payload) > 8 && string(o.Payload[4:8]) == "ftyp"}
	c.timestamp, c.stamped = o.Properties.Uint(0x10) // LOC Timestamp, microseconds
	return c
}

// next returns the next chunk within a few seconds.
func (w *watcher) next(t *testing.T) chunk {
	t.Helper()
	select {
	case c, ok := <-w.chunks:
		if ok {
			return c
		}
		t.Fatalf("the view ended: %v", <-w.ended)
	case <-time.After(10 * time.Second):
		t.Fatal("no chunk within 10 s")
	}
	return chunk{}
}

// finish ends the broadcast as a publisher whose input has ended does.
func (p *publication) finish() {
	p.encoder.Stop()
	p.pipe.Close()
	<-p.done
	p.track.End(track.DoneTrackEnded, "finished")
}
