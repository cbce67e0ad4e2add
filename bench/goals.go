package bench

import (
	"slices"

	"github.com/broadcastd/broadcastd/bench/load"
)

const kib = 1024.0

// goals are the rows of what the project holds itself to.
func goals() []Goal {
	return slices.Concat(costGoals(), networkGoals(), restGoals())
}

// costGoals are about CPU, packets and delay with good networks.
func costGoals() []Goal {
	relay20, relay100 := atN(load.Relay, 20), atN(load.Relay, 100)
	bare20, bare100 := atN(load.Ceiling, 20), atN(load.Ceiling, 100)
	mtx20, mtx100 := atN(load.MediaMTX, 20), atN(load.MediaMTX, 100)
	web20 := atN(load.RelayWebTransport, 20)
	return []Goal{
		{
			RowCPU, "R: CPU per GB against ceiling, N = 20 / 100, raw QUIC, upper end", "≤ 1.25 / ≤ 1.20", "≤ 1.15 / ≤ 1.10",
			measured(against("N=20:", cpuPerGB, relay20, bare20, 1.25, 1.15).atItsUpperEnd(),
				against("N=100:", cpuPerGB, relay100, bare100, 1.20, 1.10).atItsUpperEnd()),
		},
		{
			RowMediaMTX, "CPU per GB against MediaMTX, N = 20 / 100", "≤ 0.70 / ≤ 0.70", "≤ 0.60 / ≤ 0.62",
			measured(against("N=20:", cpuPerGB, relay20, mtx20, 0.70, 0.60), against("N=100:", cpuPerGB, relay100, mtx100, 0.70, 0.62)),
		},
		{
			RowWebTransport, "CPU per GB, WebTransport against raw QUIC, N = 20", "≤ 1.25", "≤ 1.10",
			measured(against("", cpuPerGB, web20, relay20, 1.25, 1.10)),
		},
		{
			RowCPU, "per object and viewer beyond ceiling, N = 20: allocations / context switches (payload copies: 0, held by TestPayloadsAreNotCopied)", "≤ 1 / ≤ 1", "0 / < 1",
			measured(against("allocations", allocsObj, relay20, bare20, 1, 0.01), against("switches", switchesObj, relay20, bare20, 1, 0.99)),
		},
		{
			RowCPU, "packets per GB against ceiling, N = 20", "≤ 1.05", "≤ 1.01",
			measured(against("", packetsPerGB, relay20, bare20, 1.05, 1.01)),
		},
		{
			RowCPU, "added p50 / p99 over ceiling, N = 20", "≤ 0.5 ms / ≤ 1.3×", "p99 ≤ 1.1×",
			measured(against("p50", delayP50, relay20, bare20, 0.5, 0.5).in("ms", 2), against("p99", delayP99, relay20, bare20, 1.3, 1.1).in("×", 2)),
		},
		{
			RowScale, "largest N with p99 ≤ 200 ms and nothing lost, against ceiling", "≥ 0.85×", "≥ 0.95×", scaleGoal,
		},
	}
}

// networkGoals are about bad networks and viewers that do not read.
func networkGoals() []Goal {
	var list []Goal
	for _, party := range []load.Party{load.Relay, load.RelayWebTransport} {
		on := ""
		if party == load.RelayWebTransport {
			on = ", WebTransport"
		}
		arm4, arm3, armLost := string(party)+" "+at4, string(party)+" "+at3, string(party)+" "+lost
		list = append(list, Goal{
			RowNetwork, "overload, 5.1 Mbit/s on 4 Mbit/s" + on + ": audio p99 / video p99", "≤ 200 ms / ≤ 1.0 s, flat", "video ≤ 600 ms",
			measured(limit("audio", arm4, audioP99, 0, "ms", 200, 200), limit("video", arm4, videoP99, 0, "ms", 1000, 600),
				limit("video grew", arm4, videoGrowth, 2, "×", flat, flat)),
		}, Goal{
			RowNetwork, "… audio delivered / video decodable / longest freeze" + on, "100 % / ≥ 60 % / ≤ 1 s", "≥ 70 % / ≤ 0.5 s",
			measured(least("audio", arm4, audioArrived, 2, "%", 100, 100), least("video", arm4, videoDecoded, 1, "%", 60, 70),
				limit("freeze", arm4, freeze, 0, "ms", 1000, 500)),
		}, Goal{
			RowNetwork, "overload on 3 Mbit/s" + on + ": audio p99 / video p99", "≤ 250 ms / ≤ 1.2 s, flat", "video ≤ 800 ms",
			measured(limit("audio", arm3, audioP99, 0, "ms", 250, 250), limit("video", arm3, videoP99, 0, "ms", 1200, 800),
				limit("video grew", arm3, videoGrowth, 2, "×", flat, flat)),
		}, Goal{
			RowNetwork, "20 Mbit/s, 40 ms, 1 % loss" + on + ": audio p99 / all p99 / delivered", "≤ 120 ms / ≤ 1.0 s / ≥ 90 %", "all ≤ 700 ms",
			measured(limit("audio", armLost, audioP99, 0, "ms", 120, 120), limit("all", armLost, allP99, 0, "ms", 1000, 700),
				least("delivered", armLost, delivered, 1, "%", 90, 90)),
		})
	}
	return append(list, Goal{
		RowStall, "one stalled viewer of 20: p99 of the others", "≤ 1.2×", "≤ 1.05×",
		measured(against("", delayP99, string(load.Relay)+", one stalls", string(load.Relay)+", all read", 1.2, 1.05).in("×", 2)),
	})
}

// flat is by how much a delay may differ between the last and the second sixth
// of a run, and still not count as growing.
const flat = 1.25

// restGoals are about memory, starts, inputs and files.
func restGoals() []Goal {
	relay100 := atN(load.Relay, 100)
	return []Goal{
		{
			RowJoin, "join from cache to the first byte of the key frame", "≤ 50 ms", "≤ 20 ms",
			measured(limit("p50", "relay join", joinByte, 1, "ms", 50, 20), limit("p99", "relay join", joinByteP99, 1, "ms", 50, 20)),
		},
		{
			RowMemory, "memory per idle viewer above quic-go's / per active viewer, N = 100", "≤ +20 KiB / ≤ 1.0 MB", "≤ +8 KiB / ≤ 0.75 MB",
			measured(against("idle, resident", residentView, "relay idle", "ceiling idle", 20, 8).in("KiB", 1),
				piece{name: "(heap and stack", get: ratioOf(inUseView, "relay idle", "ceiling idle"), digits: 1, unit: "KiB)", beside: true},
				limit("active", relay100, residentView, 2, "MB", 1.0, 0.75).times(kib/1e6)),
		},
		{
			RowStart, "start to listening / idle resident memory", "≤ 100 ms / ≤ 45 MB", "≤ 30 ms / ≤ 30 MB",
			measured(limit("", "relay start", listening, 0, "ms", 100, 30), limit("", "relay start", residentMB, 1, "MB", 45, 30)),
		},
		{
			RowIngest, "ingest of one 5 Mbit/s CMAF stream, nobody watching", "≤ 5 mcore", "≤ 2 mcore",
			measured(limit("", "cmaf, nobody watches", mcore, 1, "mcore", 5, 2),
				beside("net/http alone", "cmaf, thrown away", mcore, 1, "mcore")),
		},
		{
			RowRecord, "recorder: CPU per GB recorded, fsync each second", "≤ 0.5 s", "≤ 0.3 s",
			measured(limit("", "recorder", recordCPU, 3, "s", 0.5, 0.3),
				beside("write(2) alone", "recorder", recordWrite, 3, "s"), beside("of 128 KiB", "recorder", recordBulk, 3, "s"),
				beside("recorder / write(2)", "recorder", recordOver, 2, "×")),
		},
		{
			RowRecut, "re-cutting fMP4 into one-frame chunks, against mp4ff's best / against memcpy", "≥ 5× / ≥ 0.5×", "≥ 0.8× memcpy",
			measured(least("mp4ff", "re-cut", recutOther, 1, "×", 5, 5), least("memcpy", "re-cut", recutFloor, 2, "×", 0.5, 0.8),
				beside("with the reading: mp4ff", "re-cut", recutReadOther, 1, "×"), beside("memcpy", "re-cut", recutReadFloor, 2, "×")),
		},
		{RowViewers, "CPU per viewer as N grows", "falls to N = 100", "falls to N = 500", fallGoal},
	}
}
