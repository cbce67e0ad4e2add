package bench

import (
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/report"
	"github.com/broadcastd/broadcastd/bench/run"
	"github.com/broadcastd/broadcastd/bench/stat"
)

// A figure is one number that a result has.
type figure struct {
	key, name, unit string
	digits          int
	better          report.Better
	of              func(Arm, Result) stat.Number
}

// The keys of figures that goals and scenarios name.
const (
	cpuPerGB       = "cpu_per_gb"
	mcorePerView   = "mcore_per_viewer"
	mcore          = "mcore"
	delayP50       = "delay_p50"
	delayP99       = "delay_p99"
	delayP999      = "delay_p999"
	videoP99       = "video_p99"
	audioP99       = "audio_p99"
	allP99         = "delivered_p99"
	videoGrowth    = "video_p99_growth"
	audioGrowth    = "audio_p99_growth"
	delivered      = "delivered"
	audioArrived   = "audio_delivered"
	videoDecoded   = "video_decodable"
	freeze         = "video_freeze"
	failed         = "viewers_failed"
	incomplete     = "viewers_incomplete"
	wrong          = "objects_wrong"
	packetsPerGB   = "packets_per_gb"
	udpPerMedia    = "udp_per_media"
	residentMB     = "resident"
	residentView   = "resident_per_viewer"
	inUseView      = "in_use_per_viewer"
	goroutines     = "goroutines"
	routinesView   = "goroutines_per_viewer"
	switches       = "switches"
	switchesObj    = "switches_per_object"
	allocsObj      = "allocs_per_object"
	allocBytesObj  = "alloc_bytes_per_object"
	loadMcore      = "load_mcore"
	lateP99        = "publisher_late_p99"
	loadAvg        = "load_average"
	joinConnect    = "join_connect_p50"
	joinByte       = "join_byte_p50"
	joinByteP99    = "join_byte_p99"
	joinPicture    = "join_picture_p50"
	joinPicP99     = "join_picture_p99"
	joinFailed     = "joins_failed"
	joinCount      = "joins"
	listening      = "listening"
	recordCPU      = "record_cpu_per_gb"
	recordWrite    = "record_write_cpu_per_gb"
	recordBulk     = "record_bulk_cpu_per_gb"
	recordOver     = "record_of_floor"
	recordRate     = "record_rate"
	recutFloor     = "recut_of_floor"
	recutOther     = "recut_of_mp4ff"
	recutReadFloor = "recut_read_of_floor"
	recutReadOther = "recut_read_of_mp4ff"
	recutRate      = "recut_rate"
)

func seconds(r Result) float64 { return r.Server.CPUSeconds }

// track makes the figure of one track, unknown where an arm has no such track.
func track(name string, of func(load.TrackView) stat.Number) func(Arm, Result) stat.Number {
	return func(_ Arm, r Result) stat.Number {
		t, ok := r.Viewing.Track(name)
		if !ok || r.Viewing.Expected == 0 {
			return stat.NaN
		}
		return of(t)
	}
}

func p99(t load.TrackView) stat.Number { return t.Delivered(0.99, -1) }

// growth divides the p99 of the last sixth of the window by that of the second:
// the first is when queues fill.
func growth(t load.TrackView) stat.Number {
	return stat.Ratio(float64(t.Delivered(0.99, load.Slices-1)), float64(t.Delivered(0.99, 1)))
}

// known makes a number of what is zero where it was not measured.
func known(v float64) stat.Number {
	if v == 0 {
		return stat.NaN
	}
	return stat.Number(v)
}

func share(part, whole int64) stat.Number { return 100 * stat.Ratio(float64(part), float64(whole)) }

// quantile makes a quantile of the delay with what was lost.
func quantile(q float64) func(Arm, Result) stat.Number {
	return func(a Arm, r Result) stat.Number {
		if r.Viewing.Expected == 0 {
			return stat.NaN
		}
		return r.Viewing.Quantile(q, a.Warmup+a.Duration)
	}
}

// joins makes a figure of those who came.
func joins(of func(*load.Joins) (*stat.Histogram, float64)) func(Arm, Result) stat.Number {
	return func(a Arm, r Result) stat.Number {
		if r.Joins == nil {
			return stat.NaN
		}
		h, q := of(r.Joins)
		if h.Count() == 0 {
			return stat.NaN
		}
		d := h.Quantile(q, int64(r.Joins.Started))
		if d == stat.Lost {
			d = a.Warmup + a.Duration
		}
		return stat.Number(d.Seconds() * 1000)
	}
}

// perViewer makes a figure of what each viewer adds to the server.
func perViewer(of func(run.Server) float64) func(Arm, Result) stat.Number {
	return func(a Arm, r Result) stat.Number { return stat.Ratio(of(r.Server), float64(a.Viewers)) }
}

// perObject makes a figure of what each object costs for each viewer.
func perObject(of func(run.Server) float64) func(Arm, Result) stat.Number {
	return func(_ Arm, r Result) stat.Number { return stat.Ratio(of(r.Server), float64(r.Viewing.Objects)) }
}

// ofServer makes a figure of the server, unknown where there is none.
func ofServer(of func(run.Server) float64) func(Arm, Result) stat.Number {
	return func(_ Arm, r Result) stat.Number {
		if r.Server.Resident == 0 {
			return stat.NaN
		}
		return stat.Number(of(r.Server))
	}
}

func ofWork(mode run.Mode, of func(run.Work) stat.Number) func(Arm, Result) stat.Number {
	return func(a Arm, r Result) stat.Number {
		if r.Work == nil || a.Mode != mode {
			return stat.NaN
		}
		return of(*r.Work)
	}
}

// cut makes the speed of one way to cut against another.
func cut(than, way string) func(Arm, Result) stat.Number {
	return ofWork(run.Recut, func(w run.Work) stat.Number { return stat.Ratio(w.Ways[than], w.Ways[way]) })
}

// figures are all that there are, in the order of the tables.
func figures() []figure {
	const kib = 1024
	return []figure{
		{cpuPerGB, "server CPU per GB", "s", 2, report.Lower, func(_ Arm, r Result) stat.Number {
			return stat.Ratio(seconds(r), float64(r.Viewing.Bytes)/1e9)
		}},
		{mcorePerView, "server CPU per viewer", "mcore", 2, report.Lower, func(_ Arm, r Result) stat.Number {
			return stat.Ratio(1000*seconds(r), r.Seconds*float64(r.Viewing.Viewers))
		}},
		{mcore, "server CPU", "mcore", 1, report.Lower, func(a Arm, r Result) stat.Number {
			if r.Work != nil || a.Mode == run.Start {
				return stat.NaN
			}
			return stat.Ratio(1000*seconds(r), r.Seconds)
		}},
		{delayP50, "delay p50", "ms", 2, report.Lower, quantile(0.5)},
		{delayP99, "delay p99", "ms", 2, report.Lower, quantile(0.99)},
		{delayP999, "delay p99.9", "ms", 2, report.Lower, quantile(0.999)},
		{allP99, "delay p99 of what came", "ms", 1, report.Lower, func(_ Arm, r Result) stat.Number {
			h := r.Viewing.All()
			if h.Count() == 0 {
				return stat.NaN
			}
			return stat.Number(h.Quantile(0.99, 0).Seconds() * 1000)
		}},
		{audioP99, "audio p99 of what came", "ms", 1, report.Lower, track("audio", p99)},
		{videoP99, "video p99 of what came", "ms", 1, report.Lower, track("video", p99)},
		{audioGrowth, "audio p99, last sixth / second", "", 2, report.Lower, track("audio", growth)},
		{videoGrowth, "video p99, last sixth / second", "", 2, report.Lower, track("video", growth)},
		{delivered, "objects delivered", "%", 3, report.Higher, func(_ Arm, r Result) stat.Number { return share(r.Viewing.Objects, r.Viewing.Expected) }},
		{audioArrived, "audio delivered", "%", 2, report.Higher, track("audio", func(t load.TrackView) stat.Number { return share(t.Objects, t.Expected) })},
		{videoDecoded, "video decodable", "%", 1, report.Higher, track("video", func(t load.TrackView) stat.Number { return share(t.Decodable, t.Expected) })},
		{freeze, "longest freeze", "ms", 0, report.Lower, track("video", func(t load.TrackView) stat.Number { return stat.Number(t.Freeze / time.Millisecond) })},
		{failed, "viewers failed", "", 0, report.Lower, func(_ Arm, r Result) stat.Number { return stat.Number(r.Viewing.Failed) }},
		{incomplete, "viewers incomplete", "", 0, report.Lower, func(_ Arm, r Result) stat.Number { return stat.Number(r.Viewing.Incomplete) }},
		{wrong, "objects wrong", "", 0, report.Lower, func(_ Arm, r Result) stat.Number { return stat.Number(r.Viewing.Wrong) }},
		{joinCount, "joins", "", 0, report.Either, func(_ Arm, r Result) stat.Number {
			if r.Joins == nil {
				return stat.NaN
			}
			return stat.Number(r.Joins.Started)
		}},
		{joinFailed, "joins failed", "", 0, report.Lower, func(_ Arm, r Result) stat.Number {
			if r.Joins == nil {
				return stat.NaN
			}
			return stat.Number(r.Joins.Failed)
		}},
		{joinConnect, "handshake p50", "ms", 2, report.Lower, joins(func(j *load.Joins) (*stat.Histogram, float64) { return &j.Connect, 0.5 })},
		{joinByte, "SUBSCRIBE to first byte p50", "ms", 2, report.Lower, joins(func(j *load.Joins) (*stat.Histogram, float64) { return &j.Byte, 0.5 })},
		{joinByteP99, "SUBSCRIBE to first byte p99", "ms", 2, report.Lower, joins(func(j *load.Joins) (*stat.Histogram, float64) { return &j.Byte, 0.99 })},
		{joinPicture, "SUBSCRIBE to whole picture p50", "ms", 2, report.Lower, joins(func(j *load.Joins) (*stat.Histogram, float64) { return &j.Picture, 0.5 })},
		{joinPicP99, "SUBSCRIBE to whole picture p99", "ms", 2, report.Lower, joins(func(j *load.Joins) (*stat.Histogram, float64) { return &j.Picture, 0.99 })},
		{packetsPerGB, "packets per GB", "thousand", 1, report.Lower, func(_ Arm, r Result) stat.Number {
			return stat.Ratio(float64(r.Viewing.Packets)/1e3, float64(r.Viewing.PayloadBytes)/1e9)
		}},
		{udpPerMedia, "UDP bytes per media byte", "", 4, report.Lower, func(_ Arm, r Result) stat.Number {
			return stat.Ratio(float64(r.Viewing.WireBytes), float64(r.Viewing.PayloadBytes))
		}},
		{allocsObj, "allocations per object and viewer", "", 2, report.Lower, perObject(func(s run.Server) float64 { return float64(s.Mallocs) })},
		{allocBytesObj, "bytes allocated per object and viewer", "", 0, report.Lower, perObject(func(s run.Server) float64 { return float64(s.Allocated) })},
		{switchesObj, "context switches per object and viewer", "", 2, report.Lower, perObject(func(s run.Server) float64 { return float64(s.Switches) })},
		{switches, "context switches", "1/s", 0, report.Lower, func(_ Arm, r Result) stat.Number { return stat.Ratio(float64(r.Server.Switches), r.Seconds) }},
		{residentMB, "resident memory", "MB", 1, report.Lower, ofServer(func(s run.Server) float64 { return float64(s.Resident) / 1e6 })},
		{residentView, "resident memory each viewer adds", "KiB", 1, report.Lower, perViewer(func(s run.Server) float64 { return float64(s.Resident-s.Before) / kib })},
		{inUseView, "heap and stack each viewer adds", "KiB", 1, report.Lower, perViewer(func(s run.Server) float64 { return float64(s.InUse-s.InUseAt0) / kib })},
		{goroutines, "goroutines", "", 0, report.Lower, func(_ Arm, r Result) stat.Number {
			if r.Server.Goroutines == 0 {
				return stat.NaN
			}
			return stat.Number(r.Server.Goroutines)
		}},
		{routinesView, "goroutines each viewer adds", "", 2, report.Lower, perViewer(func(s run.Server) float64 { return float64(s.Goroutines - s.GoroutinesAt0) })},
		{listening, "start to listening", "ms", 1, report.Lower, ofServer(func(s run.Server) float64 { return s.Listening.Seconds() * 1000 })},
		{recordCPU, "CPU per GB recorded", "s", 3, report.Lower, ofWork(run.Record, func(w run.Work) stat.Number { return stat.Ratio(w.CPUSeconds, float64(w.Bytes)/1e9) })},
		{recordWrite, "CPU per GB, write(2) of the same sizes alone", "s", 3, report.Lower, ofWork(run.Record, func(w run.Work) stat.Number { return known(w.WriteCPU) })},
		{recordBulk, "CPU per GB, write(2) of 128 KiB alone", "s", 3, report.Lower, ofWork(run.Record, func(w run.Work) stat.Number { return known(w.BulkCPU) })},
		{recordOver, "CPU, recorder / write(2) of the same sizes", "", 2, report.Lower, ofWork(run.Record, func(w run.Work) stat.Number {
			return stat.Ratio(w.CPUSeconds/(float64(w.Bytes)/1e9), w.WriteCPU)
		})},
		{recordRate, "recorded", "MB/s", 0, report.Higher, ofWork(run.Record, func(w run.Work) stat.Number { return stat.Ratio(float64(w.Bytes)/1e6, w.Seconds) })},
		{recutFloor, "chunks, speed against memcpy of the samples", "", 2, report.Higher, cut(run.WayCopy, run.WayChunk)},
		{recutOther, "chunks, speed against mp4ff", "", 1, report.Higher, cut(run.WayMP4FF, run.WayChunk)},
		{recutReadFloor, "fragments read and cut, speed against memcpy", "", 2, report.Higher, cut(run.WayReadCopy, run.WayReadChunk)},
		{recutReadOther, "fragments read and cut, speed against mp4ff", "", 1, report.Higher, cut(run.WayReadMP4FF, run.WayReadChunk)},
		{recutRate, "read and cut", "MB/s", 0, report.Higher, ofWork(run.Recut, func(w run.Work) stat.Number {
			return stat.Ratio(float64(w.Group)/1e6, w.Ways[run.WayReadChunk])
		})},
		{loadMcore, "viewers' CPU", "mcore", 0, report.Either, func(_ Arm, r Result) stat.Number { return stat.Ratio(1000*r.LoadCPU, r.Seconds) }},
		{lateP99, "publisher late p99", "ms", 2, report.Either, func(_ Arm, r Result) stat.Number {
			if r.Late == nil || r.Late.Count() == 0 {
				return stat.NaN
			}
			return stat.Number(r.Late.Quantile(0.99, 0).Seconds() * 1000)
		}},
		{loadAvg, "load average", "", 1, report.Either, func(_ Arm, r Result) stat.Number { return stat.Number(r.Load1) }},
	}
}

// figuresNamed returns the figures of keys, in the order of figures.
func figuresNamed(keys []string) []figure {
	wanted := make(map[string]bool)
	for _, k := range keys {
		wanted[k] = true
	}
	var list []figure
	for _, f := range figures() {
		if wanted[f.key] {
			list = append(list, f)
		}
	}
	return list
}
