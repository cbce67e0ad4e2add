package ingest

import (
	"bytes"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// defaultStall is how long an input may bring nothing before its backup goes out.
const defaultStall = 2 * time.Second

// rapWait is how long a session whose input was lost is kept, beyond the time
// after which its backup takes over, for the backup's next random access point.
const rapWait = 10 * time.Second

// A backup is the other input of a session: its media goes out while the
// session's own stalls. It is under the session's mutex, and a step function.
//
// The switch is at a random access point of whoever begins, so that every track
// begins with one, and shows as a Discontinuity. The own input has the session
// back once it has brought media for as long as it may stall.
type backup struct {
	name  string // of the input
	stall time.Duration
	conn  *Conn // stands for it where limits and logs are asked for; it owns nothing
	on    bool  // its media goes out

	tracks map[string]*trackSink // of the other input, by their names there
	other  rhythm                // of its media
	own    rhythm                // of the session's own
	since  time.Time             // from when on that has come without a stall
}

// alive reports whether the other input brings media.
func (b *backup) alive(now time.Time) bool { return !b.other.due.IsZero() && !b.stalled(&b.other, now) }

func (b *backup) stalled(r *rhythm, now time.Time) bool { return now.Sub(r.due) > b.stall }

// A rhythm tells when the next media of an input is due, also where that comes a
// segment at a time: when it would come as late, against its media time, as the
// latest of the last half minute. It is a step function.
type rhythm struct {
	due  time.Time
	late [4]time.Duration // the most of each ten seconds: arrival less media time
	slot [4]int64         // in which ten seconds since 1970
}

// longest is the longest that the next media is waited for because it comes in
// segments. Media time that is off by more has jumped.
const longest = 20 * time.Second

// add takes media that ends at end and came at now.
func (r *rhythm) add(now time.Time, end time.Duration) {
	late := time.Duration(now.UnixNano()) - end
	slot := now.Unix() / 10
	most := late
	for i := range r.slot {
		switch {
		case slot-r.slot[i] >= int64(len(r.slot)):
		case (r.late[i] - late).Abs() > 2*longest:
			r.slot[i] = 0 // before a jump
		default:
			most = max(most, r.late[i])
		}
	}
	if i := slot % int64(len(r.slot)); r.slot[i] != slot {
		r.slot[i], r.late[i] = slot, late
	} else {
		r.late[i] = max(r.late[i], late)
	}
	r.due = now.Add(min(max(most-late, 0), longest))
}

// takeOwn takes note of a chunk of the session's own input, which ends at end. It
// says whether the chunk goes out, and whether the session comes back with it.
func (b *backup) takeOwn(now time.Time, end time.Duration, begins bool) (pass, back bool) {
	if b.stalled(&b.own, now) {
		b.since = now
	}
	b.own.add(now, end)
	if !b.on {
		return true, false
	}
	if !begins || (b.alive(now) && now.Sub(b.since) < b.stall) {
		return false, false
	}
	b.on = false
	return true, true
}

// takeOther is takeOwn for the other input; begun says that it has the session
// from this chunk on.
func (b *backup) takeOther(now time.Time, end time.Duration, begins bool) (pass, begun bool) {
	b.other.add(now, end)
	if b.on {
		return true, false
	}
	if !begins || !b.stalled(&b.own, now) {
		return false, false
	}
	b.on = true
	return true, true
}

// begins reports whether a session may begin with a chunk of this track: at a
// picture that depends on no other, or at any sound where there are no pictures.
func begins(kind cmaf.Kind, ch cmaf.Chunk, video bool) bool {
	return ch.RAP && (kind == cmaf.KindVideo || !video)
}

// backUp makes the backup of a session that opens.
func (s *session) backUp(c *Conn) {
	name := c.limits.Backup
	if name == "" || name == s.name {
		return
	}
	stall := c.limits.Stall
	if stall <= 0 {
		stall = defaultStall
	}
	s.backup = &backup{
		name: name, stall: stall, own: rhythm{due: time.Now()}, tracks: make(map[string]*trackSink),
		conn: &Conn{r: s.r, name: s.name, limits: c.limits, log: bindLog(s.r.cfg.Log, s.b).With("broadcast", s.name)},
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.r.backed[name] = append(s.r.backed[name], s)
	s.r.backups.Add(1)
}

func endOf(h cmaf.Header, ch cmaf.Chunk) time.Duration {
	return cmaf.Time{Ticks: ch.End(), Scale: h.Timescale}.Duration()
}

// forOthers calls f, locked, with each session whose backup the input called name is.
func (r *Registry) forOthers(name string, f func(*session)) {
	if r.backups.Load() == 0 {
		return
	}
	r.mu.Lock()
	list := r.backed[name] // never changed in place
	r.mu.Unlock()
	for _, s := range list {
		s.mu.Lock()
		if !s.ended {
			f(s)
		}
		s.mu.Unlock()
	}
}

// switchTo gives the tracks of the session to another of its inputs.
func (s *session) switchTo(reason string, now time.Time) {
	s.turn++
	for _, t := range s.tracks {
		t.drop(now)
	}
	s.backup.conn.log.Warn("the input of the broadcast changes", "reason", reason, "backup", s.backup.name)
	s.r.metrics.switches.Inc()
	s.b.Discontinuity(reason)
}

// backedUp returns whether the media of the backup goes out.
func (s *session) backedUp() bool { return s.backup != nil && s.backup.on }

// mine says whether a chunk of the session's own input goes out, as it does
// unless the backup's does.
func (s *session) mine(f *trackSink, ch cmaf.Chunk, now time.Time) bool {
	if s.backup == nil {
		return true
	}
	pass, back := s.backup.takeOwn(now, endOf(f.header, ch), begins(f.header.Kind, ch, f.c.video))
	if back {
		f.c.fresh = false
		s.switchTo("the input is back", now)
	}
	return pass
}

// bind gives the feeder its track again after the session went to its input.
func (s *session) bind(f *trackSink) error {
	if f.turn == s.turn {
		return nil
	}
	if err := s.addTrack(f, f.name, f.header); err != nil {
		return err
	}
	f.turn = s.turn
	return nil
}

// other takes a chunk of the other input. What fails there fails for viewers of
// this session alone, and shows in its log.
func (s *session) other(name string, h cmaf.Header, ch cmaf.Chunk) {
	b, now := s.backup, time.Now()
	f := b.tracks[name]
	if f == nil || !bytes.Equal(f.header.Init, h.Init) {
		if f == nil && len(b.tracks) >= s.r.cfg.MaxTracks {
			return
		}
		f = &trackSink{c: b.conn, name: name, header: h, turn: s.turn - 1}
		b.tracks[name] = f
		b.conn.video = b.conn.video || h.Kind == cmaf.KindVideo
	}
	pass, begun := b.takeOther(now, endOf(h, ch), begins(h.Kind, ch, b.conn.video))
	if !pass {
		return
	}
	if begun {
		s.switchTo("the input stalled", now)
	}
	if !s.deadline.IsZero() {
		s.deadline = b.other.due.Add(s.r.cfg.Grace)
	}
	err := s.bind(f)
	if err == nil {
		err = s.put(f.t, ch, now)
	}
	if err != nil {
		b.conn.log.Debug("a chunk of the backup was left out", "track", name, "err", err)
	}
}

// patience returns how much longer than the grace the session waits for its
// input, because its backup is about to take over.
func (s *session) patience(now time.Time) time.Duration {
	if s.backup == nil || !s.backup.alive(now) {
		return 0
	}
	return s.backup.stall + rapWait
}
