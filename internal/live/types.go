package live

import "time"

// A Period is how far back a question about the past goes.
type Period string

// The periods that are kept.
const (
	Minute          Period = "1min"
	FiveMinutes     Period = "5min"
	QuarterOfAnHour Period = "15min"
	Hour            Period = "1hour"
)

// ParsePeriod returns the period called s; the empty string is FiveMinutes.
func ParsePeriod(s string) (Period, bool) {
	switch p := Period(s); p {
	case "":
		return FiveMinutes, true
	case Minute, FiveMinutes, QuarterOfAnHour, Hour:
		return p, true
	}
	return "", false
}

// Duration returns how long p is; zero for one that is not kept.
func (p Period) Duration() time.Duration {
	switch p {
	case Minute:
		return time.Minute
	case FiveMinutes:
		return 5 * time.Minute
	case QuarterOfAnHour:
		return 15 * time.Minute
	case Hour:
		return time.Hour
	}
	return 0
}

// points is how many points a series of any period has.
const points = 60

// A State is what a session that runs, or ran a moment ago, does and did. What
// is not known is zero, or nil where zero is a value.
type State struct {
	ID        string // of the session
	Org       string
	Input     string // external id, or ad-hoc name
	Namespace string // its fields joined with slashes
	Protocol  string // of ingest.Peer
	Live      bool   // it has not ended
	Paused    bool   // what comes is not passed on
	Since     time.Time
	Ended     time.Time // zero while it runs

	Connection Connection
	Video      *Video // of the largest rendition that came
	Audio      *Audio
	Network    Network
	Tracks     []Track

	Viewers, PeakViewers int
	// Watched is the time of all viewers together.
	Watched time.Duration
	// OverCap says that maxBitrate is below the lowest rendition, which is sent
	// all the same.
	OverCap bool
	// Quality is 0 to 100, over the last minute; see docs/monitor.md.
	Quality float64
}

// A Connection is what is known of who feeds a session.
type Connection struct {
	State         string // connected, or lost while the grace runs, or closed
	RemoteAddress string
	UserAgent     string
	Encrypted     bool
	RTT           time.Duration // 0: unknown
	Since         time.Time     // of this connection
	Count         int           // connections so far
}

// Video is what came over the last seconds.
type Video struct {
	Bitrate          float64 // bits per second
	FrameRate        float64
	Width, Height    int
	Codec            string        // RFC 6381
	KeyFrameInterval time.Duration // between the last two; 0: there were none
	DroppedFrames    uint64        // that are missing on the timeline, since the start
}

// Audio is what came over the last seconds.
type Audio struct {
	Bitrate              float64 // bits per second
	SampleRate, Channels int
	Codec                string // RFC 6381
}

// Network is what is known of the way of the media to here.
type Network struct {
	RTT    time.Duration // 0: unknown
	Jitter time.Duration // of packets where the transport tells, else of chunks
	Loss   *float64      // share of packets, 0 to 1; nil: the transport does not tell
	Bytes  uint64        // received, since the start
	// Skew is how much later audio comes than the video of the same time; nil: there are not both.
	Skew *time.Duration
	// IngestToPublish is the mean over the last seconds.
	IngestToPublish time.Duration
	// GlassToPublish is how old a picture is when viewers may have it; nil: the
	// input does not tell when it was captured.
	GlassToPublish *time.Duration
}

// A Track is one track of a session.
type Track struct {
	Name     string
	Kind     string // video, audio or data
	Codec    string
	Bitrate  float64 // bits per second, over the last seconds
	Frames   uint64
	Bytes    uint64
	Withheld bool // it is above maxBitrate, and not sent
}

// A Filter says whose figures are asked for. What is empty is not asked after.
type Filter struct{ Org, Input, Session string }

// A Point is one step of a series: means over the step, sums over sessions.
type Point struct {
	Time            time.Time // the step's beginning
	Sessions        float64
	Viewers         float64
	Bitrate         float64 // of what comes in, bits per second
	FrameRate       float64 // of the video, per session
	IngestToPublish time.Duration
	RTT             time.Duration
	Jitter          time.Duration
	Loss            float64 // 0 to 1
	Dropped         uint64  // frames
	Quality         float64 // 0 to 100
}

// KPIs are the key figures of an organisation.
type KPIs struct {
	LiveSessions int
	Viewers      int
	PeakViewers  int // at one time, within the period
	Bitrate      float64
	// Within the period:
	Watched         time.Duration
	IngestToPublish Quantiles
	GlassToPublish  Quantiles // no samples: no input tells when it captured
	Lateness        Quantiles
	Quality         float64
	// Since the start of the daemon:
	Totals Totals
}

// Totals are counts since the start of the daemon.
type Totals struct {
	Sessions, Connections uint64
	Errors                map[string]uint64 // sessions that ended otherwise than planned, by lost or error
	Bytes                 uint64            // received
	Frames, DroppedFrames uint64
	Watched               time.Duration
}

// A Measure is a delay that is kept as a histogram.
type Measure string

const (
	// IngestToPublish runs from when a chunk was there to when viewers may have it.
	IngestToPublish Measure = "ingest_to_publish"
	// GlassToPublish runs from when the producer says it captured the last
	// sample of a chunk to when viewers may have it.
	GlassToPublish Measure = "glass_to_publish"
	// Lateness is how much later a chunk came than the timeliest one of its track
	// within the last minute lets expect.
	Lateness Measure = "lateness"
)

// Measures returns all of them.
func Measures() []Measure { return []Measure{IngestToPublish, GlassToPublish, Lateness} }

// A Histogram counts delays.
type Histogram struct {
	Bounds []time.Duration // upper bounds, ascending; one more bucket is beyond
	Counts []uint64        // not cumulative; one more than Bounds
	Sum    time.Duration
	Count  uint64
}

// Quantiles are those of a histogram, within its buckets linearly.
type Quantiles struct {
	P50, P95, P99 time.Duration
	Count         uint64
}

// Quantile returns the delay below which a share q of what was counted lies, 0
// if there was nothing.
func (h Histogram) Quantile(q float64) time.Duration {
	left := q * float64(h.Count)
	for i, n := range h.Counts {
		if left > float64(n) || n == 0 {
			left -= float64(n)
			continue
		}
		if i == len(h.Bounds) {
			return h.Bounds[i-1]
		}
		low := time.Duration(0)
		if i > 0 {
			low = h.Bounds[i-1]
		}
		return low + time.Duration(left/float64(n)*float64(h.Bounds[i]-low))
	}
	if h.Count == 0 {
		return 0
	}
	return h.Bounds[len(h.Bounds)-1]
}

// Quantiles returns the usual ones.
func (h Histogram) Quantiles() Quantiles {
	return Quantiles{P50: h.Quantile(.5), P95: h.Quantile(.95), P99: h.Quantile(.99), Count: h.Count}
}

// RelayHealth is how the relay does, since the start of the daemon.
type RelayHealth struct {
	Sessions, Namespaces, Tracks, Subscriptions int
	CacheBytes                                  uint64
	SentBytes                                   uint64
	GroupsDropped                               uint64 // not sent because a viewer was too slow
	Jumps                                       uint64 // of viewers to the newest group
	Stalls                                      uint64 // viewers given up
	StreamsReset                                uint64
	DeliveryLateness                            Quantiles // from a group's arrival to its first byte downstream
	FirstObject                                 Quantiles // from a subscription to its first byte
}
