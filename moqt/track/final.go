package track

// Final reports whether nothing behind Largest will ever be published: the
// publisher has marked the end of the track, or is in this process (Info.Local)
// and has ended it.
func (t *Track) Final() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	end := t.ended.Load()
	return t.hasEnd || t.local && end != nil && end.Code == DoneTrackEnded
}
