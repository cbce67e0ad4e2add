package control

import (
	"context"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
)

// A StreamKey lets an encoder publish under a name that no live input has. Its
// secret is not kept.
type StreamKey struct {
	ID        string // the public part: sk_live_<id>_<secret>
	Org       string
	Namespace string // stream/<org>/<name>
	Created   time.Time
	Revoked   time.Time // zero: it counts
	Revision  uint64
}

type streamKeyRecord struct {
	ID      string    `json:"id"`
	Org     string    `json:"org"`
	Name    string    `json:"name"`
	Hash    string    `json:"hash"` // keyed, of the secret
	Created time.Time `json:"created"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// parseNamespace returns organisation and name of stream/<org>/<name>.
func parseNamespace(namespace string) (org, name string, err error) {
	rest, ok := strings.CutPrefix(namespace, "stream/")
	org, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || checkOrg(org) != nil || auth.CheckName(name) != nil {
		return "", "", invalid("namespace", "%.140q, want stream/<organisation>/<name>", namespace)
	}
	return org, name, nil
}

// CreateStreamKey makes a stream key for a namespace stream/<org>/<name> that is
// no live input's. The cleartext is shown once.
func (s *Service) CreateStreamKey(ctx context.Context, namespace string) (key StreamKey, cleartext string, err error) {
	org, name, err := parseNamespace(namespace)
	if err != nil {
		return StreamKey{}, "", err
	}
	if err := s.needOrg(ctx, org); err != nil {
		return StreamKey{}, "", err
	}
	if in, err := s.Input(ctx, name); err == nil && in.External == name {
		return StreamKey{}, "", fail(Conflict, "%s is a live input, which has a key of its own: rotate that", name)
	}
	release, err := s.reserve(KindStreamKey, org, s.limit.StreamKeys, func() int { return s.streams.ofOrg[org] })
	if err != nil {
		return StreamKey{}, "", err
	}
	defer release()
	var k inputKey
	cleartext = s.newStreamKey(&k)
	r, err := create(ctx, s, s.streams, streamKeyRecord{ID: k.ID, Org: org, Name: name, Hash: k.Hash, Created: k.Created})
	if err != nil {
		return StreamKey{}, "", err
	}
	return streamKey(r), cleartext, s.emitKey(ctx, "stream-key.created", org, k.ID)
}

// StreamKey returns a stream key.
func (s *Service) StreamKey(_ context.Context, id string) (StreamKey, error) {
	r, ok := get(s, s.streams, id)
	if !ok {
		return StreamKey{}, s.streams.missing(id)
	}
	return streamKey(r), nil
}

// StreamKeys lists the stream keys of an organisation, or all if org is empty.
// Those of live inputs are not among them.
func (s *Service) StreamKeys(_ context.Context, org string, p Page) (List[StreamKey], error) {
	return list(s, s.streams, p, func(k *streamKeyRecord) time.Time { return k.Created }, ofOrg(s.streams, org), streamKey)
}

// RevokeStreamKey makes a stream key count no longer. One that does not is left
// as it is.
func (s *Service) RevokeStreamKey(ctx context.Context, id string) (StreamKey, error) {
	revoked := false
	r, err := update(ctx, s, s.streams, id, 0, func(k *streamKeyRecord) error {
		if revoked = k.Revoked.IsZero(); revoked {
			k.Revoked = s.now()
		}
		return nil
	})
	if err == nil && revoked {
		err = s.emitKey(ctx, "stream-key.revoked", r.rec.Org, id)
	}
	return streamKey(r), err
}

func streamKey(r row[streamKeyRecord]) StreamKey {
	k := r.rec
	return StreamKey{
		ID: k.ID, Org: k.Org, Namespace: "stream/" + k.Org + "/" + k.Name, Created: k.Created, Revoked: k.Revoked, Revision: r.rev,
	}
}

func (s *Service) emitKey(ctx context.Context, event, org, id string) error {
	return s.Emit(ctx, Event{Type: event, Org: org, Data: map[string]any{"id": id}})
}
