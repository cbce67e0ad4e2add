package wire

import (
	"fmt"
	"time"
)

// The descriptions of messages that testdata/oracle/oracle.mjs gives: bytes
// are "x:hex", integers "n:decimal", strings "s:text", and a map is its
// entries in order.

type object = map[string]any

func num[T ~uint64 | ~uint8 | ~int](v T) string { return fmt.Sprintf("n:%d", uint64(v)) }

func raw(b []byte) string { return "x:" + hexString(b) }

func text(s string) string { return "s:" + s }

func fields(n Namespace) []any {
	all := []any{}
	for f := range n.All() {
		all = append(all, raw([]byte(f)))
	}
	return all
}

func place(l Location) object { return object{"group": num(l.Group), "object": num(l.Object)} }

// entries builds a map from type to values, in the order of add.
type entries []any

func (e *entries) add(typ uint64, value any) {
	if n := len(*e); n > 0 {
		if last := (*e)[n-1].([]any); last[0] == num(typ) {
			last[1] = append(last[1].([]any), value)
			return
		}
	}
	*e = append(*e, []any{num(typ), []any{value}})
}

func (e entries) object() object {
	if e == nil {
		e = entries{}
	}
	return object{"map": []any(e)}
}

func describeKeyValues(p Properties) object {
	var e entries
	for kv := range p.All() {
		if kv.Type%2 == 0 {
			e.add(kv.Type, num(kv.Uint))
		} else {
			e.add(kv.Type, raw(kv.Bytes))
		}
	}
	return e.object()
}

func describeParams(p Params) object {
	var e entries
	millis := func(typ uint64, d *time.Duration) {
		if d != nil {
			e.add(typ, num(uint64(*d/time.Millisecond)))
		}
	}
	millis(0x02, p.ObjectDeliveryTimeout)
	for _, t := range p.Tokens {
		e.add(0x03, raw(t.Append(nil)))
	}
	millis(0x04, p.RendezvousTimeout)
	millis(0x06, p.SubgroupDeliveryTimeout)
	millis(0x08, p.Expires)
	if p.LargestObject != nil {
		e.add(0x09, place(*p.LargestObject))
	}
	millis(0x0a, p.FillTimeout)
	if p.Forward != nil {
		v := uint8(0)
		if *p.Forward {
			v = 1
		}
		e.add(0x10, num(v))
	}
	if p.SubscriberPriority != nil {
		e.add(0x20, num(*p.SubscriberPriority))
	}
	if p.Filter != nil {
		e.add(0x21, raw(p.Filter.Append(nil)))
	}
	if p.GroupOrder != GroupOrderUnset {
		e.add(0x22, num(uint8(p.GroupOrder)))
	}
	if p.NewGroupRequest != nil {
		e.add(0x32, num(*p.NewGroupRequest))
	}
	if p.NamespacePrefix != nil {
		e.add(0x34, fields(*p.NamespacePrefix))
	}
	return e.object()
}

func describeFilter(f Filter) object {
	switch f.Type {
	case FilterNextGroupStart:
		return object{"type": "s:NextGroupStart"}
	case FilterLargestObject:
		return object{"type": "s:LargestObject"}
	}
	d := object{"type": "s:AbsoluteStart", "startGroup": num(f.Start.Group), "startObject": num(f.Start.Object)}
	if f.Type == FilterAbsoluteRange {
		d["type"], d["endGroup"] = "s:AbsoluteRange", num(f.EndGroup)
	}
	return d
}

// describe returns the description of m.
func describe(m Message) object {
	d := object{"type": text(m.Type().String())}
	params := func(p Params) {
		d["parameters"] = describeParams(p)
		if p.Filter != nil {
			d["filter"] = describeFilter(*p.Filter)
		}
	}
	track := func(t FullTrackName) {
		d["trackNamespace"], d["trackName"] = fields(t.Namespace), raw([]byte(t.Name))
	}
	if r, ok := m.(Request); ok {
		d["requestId"] = num(r.ID())
	}
	switch m := m.(type) {
	case Setup:
		d["setupOptions"] = describeKeyValues(m.Append(nil))
	case Goaway:
		d["newSessionUri"], d["timeout"] = text(m.NewSessionURI), num(toMillis(m.Timeout))
		if m.RequestID != nil {
			d["requestId"] = num(*m.RequestID)
		}
	case Subscribe:
		track(m.Track)
		params(m.Params)
	case SubscribeOK:
		d["trackAlias"], d["trackProperties"] = num(m.TrackAlias), describeKeyValues(m.Properties)
		params(m.Params)
	case RequestUpdate:
		params(m.Params)
	case RequestOK:
		d["trackProperties"] = describeKeyValues(m.Properties)
		params(m.Params)
	case RequestError:
		d["errorCode"], d["errorReason"], d["retryInterval"] = num(m.Code), text(m.Reason), "n:0"
		if m.Retry {
			d["retryInterval"] = num(toMillis(m.RetryAfter) + 1)
		}
		if r := m.Redirect; r != nil {
			d["redirect"] = object{
				"connectUri":     raw([]byte(r.ConnectURI)),
				"trackNamespace": fields(r.Track.Namespace), "trackName": raw([]byte(r.Track.Name)),
			}
		}
	case Publish:
		track(m.Track)
		d["trackAlias"], d["trackProperties"] = num(m.TrackAlias), describeKeyValues(m.Properties)
		params(m.Params)
	case PublishDone:
		d["statusCode"], d["streamCount"], d["errorReason"] = num(m.Status), num(m.StreamCount), text(m.Reason)
	case Fetch:
		f := object{"fetchType": num(m.FetchType)}
		if m.FetchType == FetchStandalone {
			f["trackNamespace"], f["trackName"] = fields(m.Track.Namespace), raw([]byte(m.Track.Name))
			f["startLocation"], f["endLocation"] = place(m.Start), place(m.End)
		} else {
			f["joiningRequestId"], f["joiningStart"] = num(m.JoiningRequestID), num(m.JoiningStart)
		}
		d["fetch"] = f
		params(m.Params)
	case FetchOK:
		end := 0
		if m.EndOfTrack {
			end = 1
		}
		d["endOfTrack"], d["endLocation"] = num(end), place(m.End)
		d["trackProperties"] = describeKeyValues(m.Properties)
		params(m.Params)
	case TrackStatus:
		track(m.Track)
		params(m.Params)
	case PublishNamespace:
		d["trackNamespace"] = fields(m.Namespace)
		params(m.Params)
	case SubscribeNamespace:
		d["trackNamespacePrefix"] = fields(m.Prefix)
		params(m.Params)
	case SubscribeTracks:
		d["trackNamespacePrefix"] = fields(m.Prefix)
		params(m.Params)
	case NamespaceMsg:
		d["trackNamespaceSuffix"] = fields(m.Suffix)
	case NamespaceDone:
		d["trackNamespaceSuffix"] = fields(m.Suffix)
	case PublishBlocked:
		d["trackNamespaceSuffix"], d["trackName"] = fields(m.Suffix), raw([]byte(m.Name))
	}
	return d
}
