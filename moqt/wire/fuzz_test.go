package wire

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"testing"
)

// budget runs parse and fails if it allocated more than 16 times its input and
// 64 KiB. TotalAlloc counts the whole process, which idles while a target runs.
func budget(t *testing.T, input []byte, parse func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	parse()
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(16*len(input)+64<<10); got > most {
		t.Fatalf("%d bytes of input made it allocate %d, at most %d", len(input), got, most)
	}
}

// fuzzMessage checks a body parser: what parses re-encodes to the same value,
// and no prefix of that is whole. Track properties run to the end of a message,
// so that a prefix may end anywhere behind them.
func fuzzMessage(f *testing.F, types []MessageType, requests ...MessageType) {
	if len(requests) == 0 {
		requests = []MessageType{0}
	}
	for _, s := range samples() {
		for i, typ := range types {
			for j, request := range requests {
				if s.message.Type() == typ && (s.request == request || s.request == 0) {
					f.Add(uint8(i), uint8(j), s.message.Append(nil))
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, i, j uint8, body []byte) {
		typ, request := types[int(i)%len(types)], requests[int(j)%len(requests)]
		var m Message
		var err error
		budget(t, body, func() { m, err = ParseMessage(typ, body, request) })
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok || m != nil {
				t.Fatalf("%v of %x: %v, %v is not an *Error alone", typ, body, m, err)
			}
			return // rejecting is fine; panicking is not
		}
		enc := m.Append(nil)
		again, err := ParseMessage(typ, enc, request)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v -> %x -> %+v, %v", m, enc, again, err)
		}
		fixed := len(enc) - len(propertiesOf(m))
		if typ == TypeSetup {
			fixed = 0
		}
		for n := range enc {
			p, err := ParseMessage(typ, enc[:n], request)
			if err == nil && n < fixed {
				t.Fatalf("accepted prefix %x of %x as %+v", enc[:n], enc, p)
			}
			if err == nil && !bytes.Equal(p.Append(nil), enc[:n]) {
				t.Fatalf("prefix %x is %+v", enc[:n], p)
			}
		}
	})
}

func propertiesOf(m Message) Properties {
	switch m := m.(type) {
	case SubscribeOK:
		return m.Properties
	case Publish:
		return m.Properties
	case FetchOK:
		return m.Properties
	case RequestOK:
		return m.Properties
	}
	return nil
}

func FuzzSetup(f *testing.F)       { fuzzMessage(f, []MessageType{TypeSetup}) }
func FuzzGoaway(f *testing.F)      { fuzzMessage(f, []MessageType{TypeGoaway}, TypeSetup, TypeSubscribe) }
func FuzzSubscribe(f *testing.F)   { fuzzMessage(f, []MessageType{TypeSubscribe}) }
func FuzzSubscribeOK(f *testing.F) { fuzzMessage(f, []MessageType{TypeSubscribeOK}) }
func FuzzPublish(f *testing.F)     { fuzzMessage(f, []MessageType{TypePublish}) }
func FuzzPublishDone(f *testing.F) { fuzzMessage(f, []MessageType{TypePublishDone}) }
func FuzzFetch(f *testing.F)       { fuzzMessage(f, []MessageType{TypeFetch}) }
func FuzzFetchOK(f *testing.F)     { fuzzMessage(f, []MessageType{TypeFetchOK}) }
func FuzzTrackStatus(f *testing.F) { fuzzMessage(f, []MessageType{TypeTrackStatus}) }

func FuzzRequestUpdate(f *testing.F) {
	fuzzMessage(f, []MessageType{TypeRequestUpdate}, TypeSubscribe, TypePublish, TypeFetch,
		TypeSubscribeNamespace, TypeSubscribeTracks, TypePublishNamespace, TypeTrackStatus)
}

func FuzzRequestOK(f *testing.F) {
	fuzzMessage(f, []MessageType{TypeRequestOK}, TypePublish, TypeRequestUpdate, TypeTrackStatus,
		TypeSubscribeNamespace, TypeSubscribe)
}

func FuzzRequestError(f *testing.F) {
	fuzzMessage(f, []MessageType{TypeRequestError}, TypeSubscribe, TypePublishNamespace, TypeFetch)
}

func FuzzNamespaces(f *testing.F) {
	fuzzMessage(f, []MessageType{
		TypePublishNamespace, TypeSubscribeNamespace, TypeSubscribeTracks,
		TypeNamespace, TypeNamespaceDone, TypePublishBlocked,
	})
}

func FuzzToken(f *testing.F) {
	for _, token := range tokens {
		f.Add(token.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		token, err := ParseToken(b)
		if err != nil {
			return
		}
		if again, err := ParseToken(token.Append(nil)); err != nil || !reflect.DeepEqual(again, token) {
			t.Fatalf("%+v -> %+v, %v", token, again, err)
		}
	})
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte{1})
	f.Add(Filter{Type: FilterAbsoluteRange, Start: Location{5, 7}, EndGroup: 305}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		filter, err := ParseFilter(b)
		if err != nil {
			return
		}
		enc := filter.Append(nil)
		if again, err := ParseFilter(enc); err != nil || again != filter {
			t.Fatalf("%+v -> %x -> %+v, %v", filter, enc, again, err)
		}
		for n := range enc {
			if got, err := ParseFilter(enc[:n]); err == nil {
				t.Fatalf("accepted prefix %x as %+v", enc[:n], got)
			}
		}
	})
}

// FuzzFrame feeds a stream of frames, whole and in two parts.
func FuzzFrame(f *testing.F) {
	var stream []byte
	for _, s := range samples()[:6] {
		stream, _ = AppendMessage(stream, s.message)
	}
	f.Add(stream, uint16(10))
	f.Fuzz(func(t *testing.T, b []byte, split uint16) {
		typ, body, n, err := ParseFrame(b)
		if err != nil {
			if err != ErrShort {
				t.Fatalf("ParseFrame(%x) = %v", b, err)
			}
			return
		}
		if n > len(b) || n > MaxFrame || len(body) > MaxBody {
			t.Fatalf("%d bytes of body in %d of %d", len(body), n, len(b))
		}
		if k := int(split) % n; k < n {
			if _, _, _, err := ParseFrame(b[:k]); err != ErrShort {
				t.Fatalf("%d of %d bytes: %v", k, n, err)
			}
		}
		for _, request := range []MessageType{0, TypeSetup, TypePublish, TypeTrackStatus, TypeRequestUpdate, TypeSubscribe} {
			_, _ = ParseMessage(typ, body, request) // must not panic, whatever the type
		}
	})
}

func FuzzProperties(f *testing.F) {
	f.Add([]byte(trackProperties), uint64(7), uint64(7))
	f.Add([]byte(gap), uint64(0), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, group, object uint64) {
		p := Properties(b)
		if p.Validate() != nil {
			return
		}
		_ = p.CheckObject(Location{group, object})
		_ = p.Track()
		_, _ = p.Mandatory()
		var kvs []KeyValue
		for kv := range p.All() {
			kvs = append(kvs, kv)
		}
		again := NewProperties(kvs...)
		if err := again.Validate(); err != nil || len(again) > len(p) {
			t.Fatalf("%x -> %x, %v", p, again, err)
		}
		var kvs2 []KeyValue
		for kv := range again.All() {
			kvs2 = append(kvs2, kv)
			v, ok := p.Uint(kv.Type)
			w, ok2 := again.Uint(kv.Type)
			if v != w || ok != ok2 {
				t.Fatalf("property %#x is %d, %t or %d, %t", kv.Type, v, ok, w, ok2)
			}
		}
		if !reflect.DeepEqual(kvs, kvs2) {
			t.Fatalf("%x -> %+v -> %x -> %+v", p, kvs, again, kvs2)
		}
	})
}

// fuzzStream checks a parser for a part of a stream: a rejection, or a value
// that re-encodes to itself and of which every prefix is short.
func fuzzStream[T any](t *testing.T, b []byte, parse func([]byte) (T, int, error), enc func(T) []byte) {
	v, n, err := parse(b)
	if err != nil {
		if _, ok := errors.AsType[*Error](err); !ok && err != ErrShort {
			t.Fatalf("%x: %v is neither an *Error nor ErrShort", b, err)
		}
		if n != 0 {
			t.Fatalf("%x: %v, but %d bytes used", b, err, n)
		}
		return
	}
	again := enc(v)
	if len(again) > n || n > len(b) {
		t.Fatalf("%d of %d bytes used, shortest form %d", n, len(b), len(again))
	}
	if w, m, err := parse(again); err != nil || m != len(again) || !reflect.DeepEqual(w, v) {
		t.Fatalf("%+v -> %x -> %+v, %d, %v", v, again, w, m, err)
	}
	for k := range again {
		if _, _, err := parse(again[:k]); err != ErrShort {
			t.Fatalf("prefix %x of %x: %v", again[:k], again, err)
		}
	}
}

func FuzzSubgroupHeader(f *testing.F) {
	for _, s := range subgroupHeaders {
		f.Add(s.h.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzStream(t, b, ParseSubgroupHeader, func(h SubgroupHeader) []byte { return h.Append(nil) })
		_, _, _ = ParseStreamType(b)
		fuzzStream(t, b, ParseFetchHeader, func(h FetchHeader) []byte { return h.Append(nil) })
	})
}

func FuzzObjectHeader(f *testing.F) {
	for _, s := range objectHeaders {
		f.Add(s.h.Append(nil, s.withProperties), s.withProperties)
	}
	f.Fuzz(func(t *testing.T, b []byte, withProperties bool) {
		fuzzStream(t, b,
			func(b []byte) (ObjectHeader, int, error) { return ParseObjectHeader(b, withProperties) },
			func(h ObjectHeader) []byte { return h.Append(nil, withProperties) })
	})
}

func FuzzDatagram(f *testing.F) {
	for _, s := range datagrams {
		f.Add(s.d.Append(nil))
	}
	f.Add([]byte{0x2d, 0, 0, 2, 2, 5, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, typeErr := ParseDatagramType(b)
		d, err := ParseDatagram(b)
		if err != nil {
			return
		}
		if typ != DatagramObject || typeErr != nil {
			t.Fatalf("%x parses, but its type is %v, %v", b, typ, typeErr)
		}
		enc := d.Append(nil)
		again, err := ParseDatagram(enc)
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("%+v -> %x -> %+v, %v", d, enc, again, err)
		}
		for n := range len(enc) - len(d.Payload) {
			if got, err := ParseDatagram(enc[:n]); err == nil {
				t.Fatalf("accepted prefix %x of %x as %+v", enc[:n], enc, got)
			}
		}
	})
}

// FuzzFetchObjects reads a whole response, writes it again and compares.
func FuzzFetchObjects(f *testing.F) {
	for _, s := range fetchStreams {
		var b []byte
		w := NewFetchWriter(s.order)
		for _, o := range s.items {
			o.Length = 0
			b, _ = w.Append(b, o)
		}
		f.Add(b, s.order == GroupDescending)
	}
	f.Fuzz(func(t *testing.T, b []byte, descending bool) {
		order := GroupAscending
		if descending {
			order = GroupDescending
		}
		in, out, check := NewFetchReader(order), NewFetchWriter(order), NewFetchReader(order)
		for len(b) > 0 {
			o, n, err := in.Parse(b)
			if err != nil {
				return
			}
			b = b[n:]
			b = b[min(o.Length, uint64(len(b))):]
			enc, err := out.Append(nil, o)
			if err != nil || len(enc) > n+MaxVarintLen { // an object ID may have been left out
				t.Fatalf("%+v, %d bytes -> %x, %v", o, n, enc, err)
			}
			for k := range enc {
				if _, _, err := check.Parse(enc[:k]); err != ErrShort {
					t.Fatalf("prefix %x of %x: %v", enc[:k], enc, err)
				}
			}
			if again, m, err := check.Parse(enc); err != nil || m != len(enc) || !reflect.DeepEqual(again, o) {
				t.Fatalf("%+v -> %x -> %+v, %v", o, enc, again, err)
			}
		}
	})
}

// The worst that a whole body can hold, which a short fuzz run does not reach.
func TestAllocationBudget(t *testing.T) {
	most := func(unit string) []byte { return bytes.Repeat(unhexBytes(t, unit), MaxBody/(len(unit)/2)) }
	prepend := func(head string, b []byte) []byte { return append(unhexBytes(t, head), b...)[:min(MaxBody, len(b))] }
	for _, tt := range []struct {
		name    string
		typ     MessageType
		request MessageType
		body    []byte
	}{
		{"unknown options", TypeSetup, 0, most("0201")},
		{"empty options", TypeSetup, 0, most("0100")},
		{"tokens in SETUP", TypeSetup, 0, prepend("03020201", most("00020201"))},
		{"tokens", TypeSubscribe, 0, prepend("020000"+"ffffffffffffffffff"+"03020201", most("00020201"))},
		{"fields", TypeNamespace, 0, prepend("20", most("0161"))},
		{"long forms of fields", TypeNamespace, 0, prepend("20", most("ff000000000000000161"))},
		{"billions of parameters", TypeSubscribe, 0, prepend("020000"+"ffffffffffffffffff", most("0200"))},
		{"properties", TypeSubscribeOK, 0, prepend("0100", most("0200"))},
		{"properties in REQUEST_OK", TypeRequestOK, TypeTrackStatus, prepend("00", most("0100"))},
		{"redirect", TypeRequestError, TypeSubscribe, prepend("340000c0f000", most("61"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			budget(t, tt.body, func() { _, _ = ParseMessage(tt.typ, tt.body, tt.request) })
		})
	}
}
