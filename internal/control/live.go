package control

import "time"

// Live knows what running sessions do at the moment.
type Live interface {
	// State returns the state of a running session.
	State(sessionID string) (LiveState, bool)
}

// A Capper is a Live that knows which bitrates a running session can be held to.
type Capper interface {
	// CheckBitrate says why a session cannot be held to a bitrate in kbit/s, in a
	// sentence for people.
	CheckBitrate(sessionID string, kbits int) error
}

// A LiveState is what a session does at the moment. Zero fields are not known.
type LiveState struct {
	Connection Connection
	Video      VideoMetrics
	Audio      AudioMetrics
	Network    NetworkMetrics
	Viewers    int
	Peak       int // the most viewers at a time
	Recording  Recording
}

// A Connection is what feeds a session.
type Connection struct {
	State         string // "connected", "reconnecting" or "closed"
	RemoteAddress string
	UserAgent     string
	Encrypted     bool
	RTT           time.Duration
}

// VideoMetrics are of the pictures that come in.
type VideoMetrics struct {
	Bitrate          int64 // bit/s
	FrameRate        float64
	Width, Height    int
	Codec            string // RFC 6381
	KeyframeInterval time.Duration
	DroppedFrames    uint64
}

// AudioMetrics are of the sound that comes in.
type AudioMetrics struct {
	Bitrate    int64 // bit/s
	SampleRate int
	Channels   int
	Codec      string   // RFC 6381
	Level      *float64 // dB below full scale; nil: not measured
}

// NetworkMetrics are of the way that it comes.
type NetworkMetrics struct {
	RTT, Jitter     time.Duration
	PacketLoss      float64 // percent
	BytesReceived   uint64
	AVSkew          time.Duration // how far sound is behind pictures
	IngestToPublish time.Duration
}

// A Recording is what is kept of a session.
type Recording struct {
	Enabled  bool
	State    string // "off", "recording" or "stopped"
	Started  time.Time
	Duration time.Duration
	Bytes    int64
	Gaps     int
}

// AttachLive hands in what knows the running sessions.
func (s *Service) AttachLive(l Live) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = l
}

func (s *Service) checkBitrate(id string, kbits int) error {
	s.mu.RLock()
	l, ok := s.live.(Capper)
	s.mu.RUnlock()
	if !ok {
		return nil
	}
	return l.CheckBitrate(id, kbits)
}

// LiveState returns what a session does at the moment, if it runs.
func (s *Service) LiveState(sessionID string) (LiveState, bool) {
	s.mu.RLock()
	l := s.live
	s.mu.RUnlock()
	if l == nil {
		return LiveState{}, false
	}
	return l.State(sessionID)
}
