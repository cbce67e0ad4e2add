package track

// Stale returns how many subgroups have come that lay too far behind to be of
// use: below what is cached still, or below the largest group at their coming.
// It is how a relay notices a publisher that counts its groups from below again.
func (t *Track) Stale() uint64 { return t.stale.Load() }
