package main

import (
	"cmp"
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/live"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// newLive makes the live side of the sessions, which follows what the control
// plane decides about them.
func (s *server) newLive(reg *prometheus.Registry) (*live.Service, error) {
	l, err := live.New(live.Config{
		Open: s.broadcasts.open, Namespace: namespaceOf, Name: inputOf, Sessions: records{s.control},
		Relay: s.relay, Prefix: track.MustNamespace("stream"),
		End: func(name string) bool { return s.sessions.End(name) },
		Log: s.log, Metrics: reg, Gatherer: reg, StreamLabel: s.cfg.Metrics.StreamLabel,
	})
	if err != nil {
		return nil, err
	}
	s.control.AttachLive(liveStates{l})
	s.control.OnChange(func(c control.Change) {
		if c.Kind != control.KindSession {
			return
		}
		rec, err := s.control.Session(context.Background(), c.ID)
		if err != nil { // it was deleted
			l.Apply(c.ID, live.Settings{Ended: true})
			return
		}
		l.Apply(c.ID, settingsOf(rec))
	})
	return l, nil
}

// maxTarget is the longest delay that players are asked for.
const maxTarget = time.Minute

// settingsOf returns what a session's record says about how it is to run.
func settingsOf(rec control.Session) live.Settings {
	return live.Settings{
		Paused: rec.Status == control.SessionPaused, Ended: rec.Status == control.SessionEnded,
		TargetLatency: min(time.Duration(rec.Quality.TargetLatency)*time.Millisecond, maxTarget),
		MaxBitrate:    1000 * rec.Quality.MaxBitrate,
	}
}

// records are the sessions of the control plane, as live.Sessions.
type records struct{ *control.Service }

// Started implements live.Sessions.
func (r records) Started(ctx context.Context, name, protocol string) (live.Record, error) {
	rec, err := r.SessionStarted(ctx, name, auth.Ingest(protocol))
	if err != nil {
		return live.Record{}, err
	}
	return live.Record{ID: rec.ID, Org: rec.Org, Input: rec.Input, Settings: settingsOf(rec)}, nil
}

// Ended implements live.Sessions.
func (r records) Ended(ctx context.Context, id, reason string, peak int) error {
	return r.SessionEnded(ctx, id, reason, peak)
}

// liveStates are the states of the sessions that run, in the control plane's terms.
type liveStates struct{ *live.Service }

// State implements control.Live.
func (l liveStates) State(id string) (control.LiveState, bool) {
	st, ok := l.Service.State(id)
	if !ok {
		return control.LiveState{}, false
	}
	out := control.LiveState{
		Connection: control.Connection{
			State: st.Connection.State, RemoteAddress: st.Connection.RemoteAddress, UserAgent: st.Connection.UserAgent,
			Encrypted: st.Connection.Encrypted, RTT: st.Connection.RTT,
		},
		Network: control.NetworkMetrics{
			RTT: st.Network.RTT, Jitter: st.Network.Jitter, BytesReceived: st.Network.Bytes,
			IngestToPublish: st.Network.IngestToPublish,
		},
		Viewers: st.Viewers, Peak: st.PeakViewers,
	}
	if st.Connection.State == "lost" {
		out.Connection.State = "reconnecting"
	}
	if st.Network.Loss != nil {
		out.Network.PacketLoss = 100 * *st.Network.Loss
	}
	if st.Network.Skew != nil {
		out.Network.AVSkew = *st.Network.Skew
	}
	if v := st.Video; v != nil {
		out.Video = control.VideoMetrics{
			Bitrate: int64(v.Bitrate), FrameRate: v.FrameRate, Width: v.Width, Height: v.Height, Codec: v.Codec,
			KeyframeInterval: v.KeyFrameInterval, DroppedFrames: v.DroppedFrames,
		}
	}
	if a := st.Audio; a != nil {
		out.Audio = control.AudioMetrics{Bitrate: int64(a.Bitrate), SampleRate: a.SampleRate, Channels: a.Channels, Codec: a.Codec}
	}
	return out, true
}

// limits returns what an input may do.
func (s *server) limits(name string) ingest.Limits {
	set := s.settings(name)
	return ingest.Limits{
		MaxTracks: set.MaxTracks, MaxBitrate: set.MaxBitrate, Takeover: ingest.Takeover(set.Takeover),
		Backup: s.backupOf(name, set.Backup), Stall: s.cfg.Ingest.Stall,
	}
}

// settings returns those of an input by its name in the ingest; an ad-hoc one has none.
func (s *server) settings(name string) control.InputSettings {
	in, _ := s.liveInput(name)
	return in.Settings
}

// groupOf returns how long the groups of an input are at least.
func (s *server) groupOf(name string) time.Duration {
	return cmp.Or(s.settings(name).GroupDuration, s.cfg.GroupDuration)
}
