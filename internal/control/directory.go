package control

import (
	"net/netip"
	"slices"

	"github.com/broadcastd/broadcastd/internal/auth"
)

// Directory returns the service as what decides about credentials sees it.
func (s *Service) Directory() auth.Directory { return directory{s} }

type directory struct{ s *Service }

// SigningKey implements auth.Directory.
func (d directory) SigningKey(kid string) (auth.SigningKeyInfo, bool) {
	r, ok := get(d.s, d.s.signing, kid)
	if !ok {
		return auth.SigningKeyInfo{}, false
	}
	return auth.SigningKeyInfo{
		ID: r.rec.ID, Org: r.rec.Org, Alg: r.rec.Alg, Public: r.rec.public, Active: r.rec.Deactivated.IsZero(),
	}, true
}

// StreamKey implements auth.Directory.
func (d directory) StreamKey(id string) (auth.StreamKeyInfo, bool) {
	s := d.s
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r, ok := s.inputs.rows[s.streamKeys[id]]; ok {
		return auth.StreamKeyInfo{
			ID: id, Hash: r.rec.Key.Hash, Namespace: []string{"stream", r.rec.Org, r.rec.External}, Input: r.rec.External, Active: true,
		}, true
	}
	r, ok := s.streams.rows[id]
	if !ok {
		return auth.StreamKeyInfo{}, false
	}
	return auth.StreamKeyInfo{
		ID: id, Hash: r.rec.Hash, Namespace: []string{"stream", r.rec.Org, r.rec.Name}, Active: r.rec.Revoked.IsZero(),
	}, true
}

// VerifyStreamKey implements auth.Directory.
func (d directory) VerifyStreamKey(id, secret string) bool {
	info, _ := d.StreamKey(id)
	return auth.VerifySecret(d.s.cfg.Secrets.Pepper, secret, info.Hash)
}

// Input implements auth.Directory.
func (d directory) Input(external string) (auth.Input, bool) {
	s := d.s
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.inputs.rows[s.external[external]]
	if !ok {
		return auth.Input{}, false
	}
	i, set := &r.rec, &r.rec.Settings
	return auth.Input{
		ID: i.ID, External: i.External, Org: i.Org, Ingest: i.Ingest, Namespace: []string{"stream", i.Org, i.External},
		Policy: auth.Policy{
			AnyIngest: set.AnyIngest, AllowFrom: slices.Clone(set.AllowFrom), Takeover: set.Takeover, MaxBitrate: set.MaxBitrate,
			MaxTracks: set.MaxTracks, GroupDuration: set.GroupDuration, RequireEncryption: set.RequireEncryption,
			Passphrases: slices.Clone(i.open.passphrases),
		},
	}, true
}

// TokenRevoked implements auth.Directory.
func (d directory) TokenRevoked(org, jti string) bool {
	_, ok := get(d.s, d.s.tokens, (&revokedToken{ID: jti, Org: org}).key())
	return ok
}

// OnChange implements auth.Directory.
func (d directory) OnChange(f func(auth.Change)) (stop func()) {
	return d.s.OnChange(func(c Change) { f(auth.Change{Kind: c.Kind, ID: c.ID, Org: c.Org, Deleted: c.Deleted}) })
}

// isPrefix says whether text is an address or a prefix of addresses.
func isPrefix(text string) bool {
	_, err := netip.ParseAddr(text)
	_, err2 := netip.ParsePrefix(text)
	return err == nil || err2 == nil
}

// isID says whether text can be the id of something.
func isID(text string) bool { return checkOrg(text) == nil }
