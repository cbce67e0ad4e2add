package publisher

import (
	"bytes"
	"iter"
	"slices"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// SingleTrack is the name of the track with the whole broadcast in one: each
// group opens with an object that has the header of all tracks (ftyp, moov),
// priority 0, in subgroup 0; the chunks of all tracks follow in subgroup 1,
// priority 1, in order of decode time and with the track IDs of that header.
const SingleTrack = "broadcast"

const (
	prioritySingleMedia = 1
	// singleTimescale is that of its timestamps: microseconds.
	singleTimescale = 1_000_000
)

// A single fills SingleTrack, under the Publisher's lock.
type single struct {
	p     *Publisher
	track *track.Track

	shown []shownTrack // in the order of their IDs, from 1
	init  []byte       // describes them; nil: it cannot be made

	writer   *track.SubgroupWriter
	group    uint64 // that is open, or the last one
	hasGroup bool
	base     uint64 // the number that the other tracks have for it
	object   uint64 // ID of the next object
	sequence uint32 // of mfhd
}

// A shownTrack is a track with the header that it is shown with.
type shownTrack struct {
	t    *mediaTrack
	init []byte
}

// fill implements viewForm: it reads the current group back from the tracks.
func (v *single) fill() {
	var start uint64
	video := false
	for _, t := range v.p.list {
		if is := t.header.Kind == cmaf.KindVideo; t.hasGroup && (is || !video) {
			if is && !video {
				start, video = 0, true
			}
			start = max(start, t.group)
		}
	}
	var list []placement
	open := false
	for _, t := range v.p.list {
		open = open || t.writer != nil
		for o := range objects(t.track, max(start, t.headerGroup)) {
			// The header that a chunk of ours needs is known by its track.
			if c, err := cmaf.ParseChunk(o.Payload); err == nil {
				list = append(list, placement{track: t.place, group: o.Group, chunk: c})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b placement) int { return a.time().Compare(b.time()) })
	// A group opens with its random access point, as it did when it came.
	if i := slices.IndexFunc(list, func(pl placement) bool { return pl.track.kind == cmaf.KindVideo }); i > 0 {
		first := list[i]
		copy(list[1:], list[:i])
		list[0] = first
	}
	for _, pl := range list {
		v.write(pl)
	}
	if !open {
		v.finish()
	}
}

// time returns the decode time.
func (pl placement) time() cmaf.Time {
	return cmaf.Time{Ticks: pl.chunk.DecodeTime, Scale: pl.track.owner.stated.Timescale}
}

// objects yields what is cached of a track, from a group on.
func objects(tr *track.Track, from uint64) iter.Seq[track.Object] {
	return func(yield func(track.Object) bool) {
		subgroups, _ := tr.Since(0)
		for _, s := range subgroups {
			for i := 0; s.Header().Group >= from && i < s.Objects(); i++ {
				if o, ok := s.Load(i); ok && !yield(o) {
					return
				}
			}
		}
	}
}

// write writes one chunk, in a new group where one begins.
func (v *single) write(pl placement) {
	changed := v.describe()
	t := pl.track.owner
	id := 1 + slices.IndexFunc(v.shown, func(s shownTrack) bool { return s.t == t })
	if v.init == nil || id == 0 {
		return
	}
	at := timestamp(pl.chunk, t.stated.Timescale)
	base := pl.group
	if v.writer != nil && !v.begins(pl) {
		base = v.base // where the others begin their next group, this one does as well
	}
	if (v.writer == nil || changed || base != v.base) && !v.open(base, at) {
		return
	}
	v.sequence++
	b := pl.chunk.AppendTo(v.p.scratch[:0], uint32(id), v.sequence)
	v.p.scratch = b
	if err := v.writer.WriteObject(track.Object{ID: v.object, Payload: b, Properties: track.NewProperties(at...)}); err != nil {
		v.p.log.Warn("group of the single track cut", "group", v.group, "object", v.object, "err", err)
		v.writer.Abort(track.ResetInternalError)
		v.writer = nil
		return
	}
	v.object++
}

// timestamp returns the properties that tell the presentation time of c.
func timestamp(c cmaf.Chunk, scale uint32) []track.Property {
	at := cmaf.Time{Ticks: c.PTS(), Scale: scale}.In(singleTimescale)
	return []track.Property{
		{Type: track.PropTimescale, Uint: singleTimescale},
		{Type: track.PropTimestamp, Uint: uint64(max(at.Ticks, 0))},
	}
}

// begins reports whether a group begins at pl: where the other tracks begin one,
// but at a random access point of video. Audio may be a group ahead of it,
// and goes on alone where video does not come.
func (v *single) begins(pl placement) bool {
	if pl.group <= v.base {
		return false
	}
	video := slices.ContainsFunc(v.shown, func(s shownTrack) bool { return s.t.header.Kind == cmaf.KindVideo })
	if !video || pl.group > v.base+1 {
		return true
	}
	return pl.track.kind == cmaf.KindVideo && pl.chunk.RAP
}

// describe makes the init object anew if tracks or headers have changed, and
// reports whether they have.
func (v *single) describe() bool {
	i := 0
	same := true
	for _, t := range v.p.list {
		if !t.isShown() {
			continue
		}
		same = same && i < len(v.shown) && v.shown[i].t == t && bytes.Equal(v.shown[i].init, t.header.Init)
		i++
	}
	if same && i == len(v.shown) {
		return false
	}
	v.shown, v.init = nil, nil
	var headers []cmaf.Header
	for _, t := range v.p.list {
		if t.isShown() {
			v.shown = append(v.shown, shownTrack{t, t.header.Init})
			headers = append(headers, t.header)
		}
	}
	init, err := cmaf.BuildInit(headers)
	if err != nil {
		v.finish()
		v.p.log.Warn("the tracks cannot be shown as one", "err", err)
		return true
	}
	v.init = init
	return true
}

// isShown reports whether t is in the single track's header.
func (t *mediaTrack) isShown() bool {
	return (t.listed || t.hasGroup) && (t.header.Kind == cmaf.KindVideo || t.header.Kind == cmaf.KindAudio)
}

// open begins a group with the init object, and reports whether it has.
func (v *single) open(base uint64, at []track.Property) bool {
	v.finish()
	number := base
	o := track.Object{Payload: v.init}
	if v.hasGroup {
		number = max(number, v.group+1)
		if gap := number - v.group - 1; gap > 0 {
			at = append(slices.Clip(at), track.Property{Type: track.PropPriorGroupIDGap, Uint: gap})
		}
	}
	o.Properties = track.NewProperties(at...)
	w, err := openWithInit(v.track, o, track.SubgroupHeader{Group: number, Priority: prioritySingleMedia, Properties: true})
	if err != nil {
		v.p.log.Warn("group of the single track not opened", "group", number, "err", err)
		return false
	}
	v.writer, v.group, v.hasGroup, v.base, v.object = w, number, true, base, 1
	return true
}

// finish implements viewForm.
func (v *single) finish() { v.writer = v.p.closeGroup(v.track, v.writer) }
