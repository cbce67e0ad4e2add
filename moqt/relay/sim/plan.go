package sim

import (
	"encoding/binary"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// epochGroups is how far apart the group numbers of two epochs lie: an encoder
// that starts anew goes on well above what it has published before.
const epochGroups = 1000

// A plan is a track as its encoder makes it: what is in each group is a function
// of the seed, the track and the location alone, so that every publisher of the
// track publishes the same and every receiver can tell.
type plan struct {
	id     uint64 // of the seed and the track
	name   track.Name
	period time.Duration // of a group
	// objects per group, which are dealt out to subgroups in turn
	objects, subgroups int
	step               uint64 // from one object ID to the next
	largest            int    // payload, in bytes
	properties         bool   // on each object
	endFlag, endObject bool   // how a group says where it ends
	priority           uint8
	hasPriority        bool

	datagrams bool // each object is a datagram

	epoch   uint64
	ends    map[uint64]wire.Location // where each epoch ended that is over
	denied  map[wire.Location]bool   // a publisher has said that they do not exist
	stopped bool
	times   map[wire.Location]time.Time // when each item was made, by its number
	made    wire.Location               // the next object that is made is number made.Object of the group
}

func (w *world) newPlan(name track.Name) *plan {
	p := &plan{
		id: w.seed*0x9e3779b97f4a7c15 ^ sum(name.Name) ^ sum(name.Namespace.String()), name: name,
		period: w.between(60*time.Millisecond, 700*time.Millisecond), objects: w.number(1, 12),
		step: pick(w, uint64(1), 1, 1, 2, 7), largest: pick(w, 40, 400, 4000, 30000),
		properties: w.chance(0.4), endFlag: w.chance(0.5), endObject: w.chance(0.3),
		times: make(map[wire.Location]time.Time), ends: make(map[uint64]wire.Location), denied: make(map[wire.Location]bool),
	}
	if p.subgroups = w.number(1, min(3, p.objects)); w.chance(0.2) {
		p.datagrams, p.subgroups, p.largest = true, 1, min(p.largest, 400)
	}
	// At most 100 objects and 120 kB per second.
	least := max(10*time.Millisecond, time.Duration(p.largest/2)*time.Second/120_000)
	p.period = max(p.period, time.Duration(p.objects)*least)
	if p.hasPriority = w.chance(0.5); p.hasPriority {
		p.priority = uint8(w.number(0, 255))
	}
	return p
}

// group returns the number of the nth group of the epoch.
func (p *plan) group(n uint64) uint64 { return p.epoch*epochGroups + n }

// An item is one object as it is published.
type item struct {
	id       uint64
	subgroup uint64
	size     int
	status   wire.ObjectStatus
	last     bool // of its subgroup
}

// count returns how many items a group has, the mark of its end included.
func (p *plan) count() int {
	if p.endObject {
		return p.objects + 1
	}
	return p.objects
}

// item returns number k of a group, from 0 to count()-1.
func (p *plan) item(group uint64, k int) item {
	it := item{id: uint64(k) * p.step, subgroup: uint64(k % p.subgroups)}
	if k == p.objects {
		it.subgroup, it.status = uint64((k-1)%p.subgroups), wire.ObjectEndOfGroup
	} else {
		it.size = int(mix(p.id^group<<20^uint64(k)) % uint64(p.largest+1))
	}
	it.last = true
	for i := k + 1; i < p.count(); i++ {
		if p.lane(i) == it.subgroup {
			it.last = false
		}
	}
	return it
}

// lane returns the subgroup of item k.
func (p *plan) lane(k int) uint64 {
	if k == p.objects {
		k--
	}
	return uint64(k % p.subgroups)
}

// find returns the item with this ID.
func (p *plan) find(group, id uint64) (k int, ok bool) {
	k = int(id / p.step)
	return k, id%p.step == 0 && id/p.step < uint64(p.count())
}

// header returns how a stream of this subgroup begins.
func (p *plan) header(alias, group, subgroup uint64, first bool) wire.SubgroupHeader {
	return wire.SubgroupHeader{
		Alias: alias, Group: group, Subgroup: subgroup, Priority: p.priority, DefaultPriority: !p.hasPriority,
		Properties: p.properties, EndOfGroup: p.endFlag && subgroup == p.lane(p.count()-1), FirstObject: first,
	}
}

// objectProperties returns the properties of an object.
func (p *plan) objectProperties(group uint64, it item) wire.Properties {
	if !p.properties || it.status != wire.ObjectNormal {
		return nil
	}
	return wire.NewProperties(wire.KeyValue{Type: wire.PropLOCTimestamp, Uint: group<<16 | it.id})
}

// appendObject appends item k of a group as it is on a stream.
func (p *plan) appendObject(b []byte, group uint64, k int, ids *wire.ObjectIDs) []byte {
	it := p.item(group, k)
	delta, _ := ids.Delta(it.id)
	h := wire.ObjectHeader{IDDelta: delta, Properties: p.objectProperties(group, it), Length: uint64(it.size), Status: it.status}
	b = h.Append(b, p.properties)
	return p.appendPayload(b, group, it)
}

// appendPayload appends the payload of an object: words that nobody would hit
// upon by chance, nor copy from another object unnoticed.
func (p *plan) appendPayload(b []byte, group uint64, it item) []byte {
	from := len(b)
	v := mix(p.id ^ mix(group)<<1 ^ mix(it.id^0xabcdef))
	for i := 0; i < it.size; i += 8 {
		v = v*6364136223846793005 + 1442695040888963407
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b[:from+it.size]
}

// mix scrambles v.
func mix(v uint64) uint64 {
	v ^= v >> 30
	v *= 0xbf58476d1ce4e5b9
	v ^= v >> 27
	v *= 0x94d049bb133111eb
	return v ^ v>>31
}

// An encoder makes the objects of a plan as time goes by, and tells publishers.
type encoder struct {
	w       *world
	p       *plan
	outlets []outlet
	running bool
}

// An outlet publishes what an encoder makes.
type outlet interface {
	made(e *encoder, group uint64, k int)
	restarted(e *encoder) // a new epoch begins: the group in the making is never finished
}

// run begins the epoch in force, now.
func (e *encoder) run() {
	e.running = true
	epoch := e.p.epoch
	e.p.made = wire.Location{Group: e.p.group(0)}
	e.make(epoch)
}

// make makes the next object, and comes again for the one after.
func (e *encoder) make(epoch uint64) {
	p := e.p
	if p.epoch != epoch || p.stopped && p.made.Object == 0 {
		e.running = false
		return
	}
	group, k := p.made.Group, int(p.made.Object)
	if p.made.Object++; int(p.made.Object) == p.count() {
		p.made = wire.Location{Group: group + 1}
	}
	p.times[wire.Location{Group: group, Object: uint64(k)}] = e.w.now
	for _, o := range e.outlets {
		o.made(e, group, k)
	}
	e.w.after(p.period/time.Duration(p.count()), func() { e.make(epoch) })
}

// restart begins a new epoch.
func (e *encoder) restart() {
	e.p.ends[e.p.epoch] = e.p.made
	e.p.epoch++
	for _, o := range e.outlets {
		o.restarted(e)
	}
	e.run()
}
