package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// An oracleJob is one input of testdata/oracle/oracle.mjs, and an oracleResult
// what it makes of it.
type oracleJob struct {
	Kind  string `json:"kind"`
	Hex   string `json:"hex"`
	Order string `json:"order,omitempty"`
}

type oracleResult struct {
	Value any      `json:"value"` // what it decoded
	Hex   []string `json:"hex"`   // that, encoded again, in parts
	Error string   `json:"error"`
}

// oracle runs the jobs in @moqt/transport, an independent codec, which npm
// installs beside the script on first use. Without Node the test is skipped.
func oracle(t *testing.T, jobs []oracleJob) []oracleResult {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the other codec needs %s: %v", tool, err)
		}
	}
	dir := filepath.Join("testdata", "oracle")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@moqt", "transport")); errors.Is(err, fs.ErrNotExist) {
		install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
	}
	input, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	run := exec.CommandContext(ctx, "node", "oracle.mjs")
	run.Dir, run.Stdin, run.Stderr = dir, bytes.NewReader(input), &stderr
	output, err := run.Output()
	if err != nil {
		t.Fatalf("node oracle.mjs: %v\n%s", err, &stderr)
	}
	var results []oracleResult
	if err := json.Unmarshal(output, &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != len(jobs) {
		t.Fatalf("%d results of %d jobs", len(results), len(jobs))
	}
	return results
}

// sameValue compares what the oracle decoded with our description.
func sameValue(t *testing.T, name string, got oracleResult, want any) bool {
	t.Helper()
	if got.Error != "" {
		t.Errorf("%s: the other codec rejects it: %s", name, got.Error)
		return false
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(b, &plain); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Value, plain) {
		g, _ := json.Marshal(got.Value)
		t.Errorf("%s: the other codec decodes\n%s, want\n%s", name, g, b)
		return false
	}
	return true
}

// Every message, ours into theirs and theirs into ours.
func TestOracleMessages(t *testing.T) {
	all, r := samples(), newSource(1)
	for range 20 {
		all = append(all, r.messages()...)
	}
	jobs := make([]oracleJob, len(all))
	for i, s := range all {
		frame, err := AppendMessage(nil, s.message)
		if err != nil {
			t.Fatal(err)
		}
		jobs[i] = oracleJob{Kind: "control", Hex: hexString(frame)}
	}
	for i, got := range oracle(t, jobs) {
		s := all[i]
		if !sameValue(t, s.name, got, describe(s.message)) {
			continue
		}
		b := unhexBytes(t, got.Hex[0])
		typ, body, n, err := ParseFrame(b)
		if err != nil || n != len(b) {
			t.Errorf("%s: ParseFrame(%x) = %d, %v", s.name, b, n, err)
			continue
		}
		if m, err := ParseMessage(typ, body, s.request); err != nil || !reflect.DeepEqual(m, s.message) {
			t.Errorf("%s: of the other codec's bytes we make %+v, %v; want %+v", s.name, m, err, s.message)
		}
	}
}

func TestOracleVarints(t *testing.T) {
	r := newSource(2)
	var values []uint64
	var jobs []oracleJob
	for range 500 {
		v := r.id()
		values = append(values, v)
		jobs = append(jobs, oracleJob{Kind: "varint", Hex: hexString(AppendVarint(nil, v))})
	}
	for i, got := range oracle(t, jobs) {
		want := object{"value": num(values[i]), "bytesRead": num(VarintLen(values[i]))}
		if sameValue(t, "varint", got, want) && got.Hex[0] != jobs[i].Hex {
			t.Errorf("%d: ours %s, theirs %s", values[i], jobs[i].Hex, got.Hex[0])
		}
	}
}

// An oracleStream is a subgroup stream with its payloads.
type oracleStream struct {
	header  SubgroupHeader
	ids     []uint64
	objects []ObjectHeader
	payload [][]byte
}

func (r source) stream() oracleStream {
	s := oracleStream{header: SubgroupHeader{
		Alias: r.id(), Group: r.id(), Properties: r.yes(), EndOfGroup: r.yes(), FirstObject: r.yes(),
	}}
	switch r.IntN(3) {
	case 0:
		s.header.FirstIDMode = true
	case 1:
		s.header.Subgroup = r.id()
	}
	if s.header.DefaultPriority = r.yes(); !s.header.DefaultPriority {
		s.header.Priority = uint8(r.Uint32())
	}
	id := uint64(0)
	var ids ObjectIDs
	for i := range r.IntN(5) {
		id += r.id() >> 3
		if i > 0 {
			id++
		}
		payload := r.bytes(40)
		h := ObjectHeader{Length: uint64(len(payload))}
		h.IDDelta, _ = ids.Delta(id)
		if s.header.Properties {
			h.Properties = r.properties()
		}
		if h.Length == 0 && h.Properties == nil && r.yes() {
			h.Status = ObjectEndOfGroup
		}
		s.ids, s.objects, s.payload = append(s.ids, id), append(s.objects, h), append(s.payload, payload)
	}
	return s
}

func (s oracleStream) append(b []byte) []byte {
	b = s.header.Append(b)
	for i, h := range s.objects {
		b = append(h.Append(b, s.header.Properties), s.payload[i]...)
	}
	return b
}

func (s oracleStream) describe() object {
	h := object{
		"typeByte": num(s.header.Append(nil)[0]), "trackAlias": num(s.header.Alias), "groupId": num(s.header.Group),
		"subgroupId": num(s.header.Subgroup), "hasExtensions": s.header.Properties,
		"isEndOfGroup": s.header.EndOfGroup, "isFirstObjectInSubgroup": s.header.FirstObject,
	}
	if !s.header.DefaultPriority {
		h["publisherPriority"] = num(s.header.Priority)
	}
	objects := []any{}
	for i, o := range s.objects {
		d := object{"objectId": num(s.ids[i]), "payload": raw(s.payload[i])}
		if o.Properties != nil {
			d["extensions"] = raw(o.Properties)
		}
		if o.Length == 0 {
			d["status"] = num(o.Status)
		}
		objects = append(objects, d)
	}
	return object{"header": h, "objects": objects}
}

func TestOracleSubgroups(t *testing.T) {
	r := newSource(3)
	var streams []oracleStream
	var jobs []oracleJob
	for range 100 {
		s := r.stream()
		streams = append(streams, s)
		jobs = append(jobs, oracleJob{Kind: "subgroup", Hex: hexString(s.append(nil))})
	}
	for i, got := range oracle(t, jobs) {
		s, name := streams[i], fmt.Sprintf("stream %s", jobs[i].Hex)
		if !sameValue(t, name, got, s.describe()) {
			continue
		}
		h, _, err := ParseSubgroupHeader(unhexBytes(t, got.Hex[0]))
		if err != nil || h != s.header {
			t.Errorf("%s: of the other codec's header we make %+v, %v; want %+v", name, h, err, s.header)
		}
		var ids ObjectIDs
		for j, part := range got.Hex[1:] {
			b := unhexBytes(t, part)
			o, n, err := ParseObjectHeader(b, h.Properties)
			if err != nil || !reflect.DeepEqual(o, s.objects[j]) || !bytes.Equal(b[n:], s.payload[j]) {
				t.Errorf("%s: of the other codec's object we make %+v, %v; want %+v", name, o, err, s.objects[j])
			}
			if id, err := ids.Next(o.IDDelta); id != s.ids[j] || err != nil {
				t.Errorf("%s: object ID %d, %v; want %d", name, id, err, s.ids[j])
			}
		}
	}
}

func TestOracleDatagrams(t *testing.T) {
	r := newSource(4)
	var all []Datagram
	var jobs []oracleJob
	for range 200 {
		d := Datagram{Alias: r.id(), Group: r.id(), DefaultPriority: r.yes()}
		if r.yes() {
			d.Object = r.id()
		}
		if !d.DefaultPriority {
			d.Priority = uint8(r.Uint32())
		}
		if r.IntN(4) == 0 {
			d.Status = ObjectEndOfTrack
		} else {
			d.EndOfGroup, d.Properties, d.Payload = r.yes(), r.properties(), r.bytes(40)
		}
		all = append(all, d)
		jobs = append(jobs, oracleJob{Kind: "datagram", Hex: hexString(d.Append(nil))})
	}
	for i, got := range oracle(t, jobs) {
		d := all[i]
		want := object{
			"typeByte": num(d.Append(nil)[0]), "trackAlias": num(d.Alias), "groupId": num(d.Group), "objectId": num(d.Object),
			"isEndOfGroup": d.EndOfGroup, "payload": raw(d.Payload),
		}
		if !d.DefaultPriority {
			want["publisherPriority"] = num(d.Priority)
		}
		if d.Properties != nil {
			want["extensions"] = raw(d.Properties)
		}
		if d.Status != ObjectNormal {
			want["status"] = num(d.Status)
		}
		name := fmt.Sprintf("datagram %s", jobs[i].Hex)
		if !sameValue(t, name, got, want) {
			continue
		}
		if again, err := ParseDatagram(unhexBytes(t, got.Hex[0])); err != nil || !reflect.DeepEqual(again, d) {
			t.Errorf("%s: of the other codec's bytes we make %+v, %v; want %+v", name, again, err, d)
		}
	}
}

// Its fetch encoder writes neither properties nor datagrams, and it has a
// payload length of 0 behind range markers, which we and others do not.
func TestOracleFetch(t *testing.T) {
	r := newSource(5)
	orders := map[GroupOrder]string{GroupAscending: "ascending", GroupDescending: "descending"}
	type response struct {
		order GroupOrder
		items []FetchObject
	}
	var all []response
	var jobs []oracleJob
	for range 100 {
		s := response{order: GroupOrder(1 + r.IntN(2))}
		at := Location{1 << 40, r.id() >> 32}
		w, b := NewFetchWriter(s.order), FetchHeader{RequestID: 7}.Append(nil)
		for i := range 1 + r.IntN(6) {
			switch {
			case i == 0:
			case r.yes():
				at.Object += 1 + r.id()>>40
			case s.order == GroupAscending:
				at = Location{at.Group + 1 + r.id()>>40, r.id() >> 32}
			default:
				at = Location{at.Group - 1 - r.id()>>40, r.id() >> 32}
			}
			o := FetchObject{Group: at.Group, Object: at.Object}
			if r.IntN(4) == 0 && i > 0 {
				o.Range = FetchUnknown
			} else {
				o.Subgroup, o.Priority, o.Length = r.Uint64N(4), uint8(r.IntN(3)), 1
			}
			var err error
			if b, err = w.Append(b, o); err != nil {
				t.Fatal(err)
			}
			b = append(b, 0) // the payload, or the length that it wants
			s.items = append(s.items, o)
		}
		all = append(all, s)
		jobs = append(jobs, oracleJob{Kind: "fetch", Hex: hexString(b), Order: orders[s.order]})
	}
	for i, got := range oracle(t, jobs) {
		s, name := all[i], fmt.Sprintf("fetch %s", jobs[i].Hex)
		items := []any{}
		for _, o := range s.items {
			d := object{"groupId": num(o.Group), "objectId": num(o.Object)}
			if o.Range != FetchNoRange {
				d["nonExistent"] = false
			} else {
				d["subgroupId"], d["publisherPriority"] = num(o.Subgroup), num(o.Priority)
				d["isDatagram"], d["payload"] = false, "x:00"
			}
			items = append(items, d)
		}
		if !sameValue(t, name, got, object{"header": object{"requestId": "n:7"}, "items": items}) {
			continue
		}
		reader := NewFetchReader(s.order)
		for j, part := range got.Hex[1:] {
			b := unhexBytes(t, part)
			o, n, err := reader.Parse(b)
			if err != nil || n != len(b)-1 || !reflect.DeepEqual(o, s.items[j]) {
				t.Errorf("%s: of the other codec's item we make %+v, %d, %v; want %+v", name, o, n, err, s.items[j])
			}
		}
	}
}
