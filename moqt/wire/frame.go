package wire

import "encoding/binary"

// A MessageType is the type of a message on a control or request stream
// (section 10).
type MessageType uint64

// The message types. The table of section 10 still lists 0x1E as PUBLISH_OK;
// its text and its change log answer PUBLISH with REQUEST_OK, so 0x1E is
// unknown here.
const (
	TypeRequestUpdate      MessageType = 0x2
	TypeSubscribe          MessageType = 0x3
	TypeSubscribeOK        MessageType = 0x4
	TypeRequestError       MessageType = 0x5
	TypePublishNamespace   MessageType = 0x6
	TypeRequestOK          MessageType = 0x7
	TypeNamespace          MessageType = 0x8
	TypePublishDone        MessageType = 0xb
	TypeTrackStatus        MessageType = 0xd
	TypeNamespaceDone      MessageType = 0xe
	TypePublishBlocked     MessageType = 0xf
	TypeGoaway             MessageType = 0x10
	TypeFetch              MessageType = 0x16
	TypeFetchOK            MessageType = 0x18
	TypePublish            MessageType = 0x1d
	TypeSubscribeNamespace MessageType = 0x50
	TypeSubscribeTracks    MessageType = 0x51
	TypeSetup              MessageType = 0x2f00 // also the type of the control stream
)

var messageTypes = map[MessageType]string{
	TypeRequestUpdate:      "REQUEST_UPDATE",
	TypeSubscribe:          "SUBSCRIBE",
	TypeSubscribeOK:        "SUBSCRIBE_OK",
	TypeRequestError:       "REQUEST_ERROR",
	TypePublishNamespace:   "PUBLISH_NAMESPACE",
	TypeRequestOK:          "REQUEST_OK",
	TypeNamespace:          "NAMESPACE",
	TypePublishDone:        "PUBLISH_DONE",
	TypeTrackStatus:        "TRACK_STATUS",
	TypeNamespaceDone:      "NAMESPACE_DONE",
	TypePublishBlocked:     "PUBLISH_BLOCKED",
	TypeGoaway:             "GOAWAY",
	TypeFetch:              "FETCH",
	TypeFetchOK:            "FETCH_OK",
	TypePublish:            "PUBLISH",
	TypeSubscribeNamespace: "SUBSCRIBE_NAMESPACE",
	TypeSubscribeTracks:    "SUBSCRIBE_TRACKS",
	TypeSetup:              "SETUP",
}

// String returns the draft's name, or the number of a type it does not define.
func (t MessageType) String() string { return name(messageTypes, t) }

// Known reports whether the draft defines t. The session closes for any other
// type as soon as it sees it (section 10).
func (t MessageType) Known() bool { _, ok := messageTypes[t]; return ok }

// OpensRequest reports whether t is one of the seven types that a request
// stream begins with (section 3.3).
func (t MessageType) OpensRequest() bool {
	switch t {
	case TypeSubscribe, TypePublish, TypeFetch, TypeTrackStatus,
		TypePublishNamespace, TypeSubscribeNamespace, TypeSubscribeTracks:
		return true
	}
	return false
}

// A Message is one message of a control or request stream. Every message is a
// struct value, never a pointer.
type Message interface {
	Type() MessageType
	// Append appends the body, without type and length, to b.
	Append(b []byte) []byte
}

// A Request is a message that uses up a request ID: the seven that open a
// request stream, and REQUEST_UPDATE (section 10.1).
type Request interface {
	Message
	ID() uint64
}

const (
	// MaxBody is the longest message body, in bytes (section 10).
	MaxBody = 1<<16 - 1
	// MaxFrame bounds a whole message: type, length and body.
	MaxFrame = MaxVarintLen + 2 + MaxBody
)

// AppendMessage appends m with its type and length to b. If the body exceeds
// MaxBody it returns b as it was, and ErrTooLarge.
func AppendMessage(b []byte, m Message) ([]byte, error) {
	start := len(b)
	b = AppendVarint(b, uint64(m.Type()))
	length := len(b)
	b = m.Append(append(b, 0, 0))
	size := len(b) - length - 2
	if size > MaxBody {
		return b[:start], ErrTooLarge
	}
	binary.BigEndian.PutUint16(b[length:], uint16(size))
	return b, nil
}

// ParseFrame parses the message frame at the start of b: its type, its body,
// which aliases b, and the length of the whole. It accepts any type. The only
// error is ErrShort.
func ParseFrame(b []byte) (t MessageType, body []byte, n int, err error) {
	typ, n, err := ParseVarint(b)
	if err != nil {
		return 0, nil, 0, err
	}
	if len(b) < n+2 {
		return 0, nil, 0, ErrShort
	}
	size := int(binary.BigEndian.Uint16(b[n:]))
	n += 2
	if len(b)-n < size {
		return 0, nil, 0, ErrShort
	}
	return MessageType(typ), b[n : n+size], n + size, nil
}

// ParseMessage parses one whole body of a message of type t. The result does
// not alias body.
//
// Some messages depend on what they belong to, and request says what that is.
// For RequestOK and RequestError it is the type of the message they answer,
// TypeRequestUpdate for an update. For RequestUpdate and Goaway it is the type
// of the message that opened the stream, TypeSetup on the control stream. The
// other types do not look at it.
func ParseMessage(t MessageType, body []byte, request MessageType) (Message, error) {
	switch t {
	case TypeSetup:
		return message(ParseSetup(body))
	case TypeGoaway:
		return message(ParseGoaway(body, request == TypeSetup))
	case TypeSubscribe:
		return message(ParseSubscribe(body))
	case TypeSubscribeOK:
		return message(ParseSubscribeOK(body))
	case TypeRequestUpdate:
		return message(ParseRequestUpdate(body, request))
	case TypeRequestOK:
		return message(ParseRequestOK(body, request))
	case TypeRequestError:
		return message(ParseRequestError(body, request))
	case TypePublish:
		return message(ParsePublish(body))
	case TypePublishDone:
		return message(ParsePublishDone(body))
	case TypeFetch:
		return message(ParseFetch(body))
	case TypeFetchOK:
		return message(ParseFetchOK(body))
	case TypeTrackStatus:
		return message(ParseTrackStatus(body))
	case TypePublishNamespace:
		return message(ParsePublishNamespace(body))
	case TypeSubscribeNamespace:
		return message(ParseSubscribeNamespace(body))
	case TypeSubscribeTracks:
		return message(ParseSubscribeTracks(body))
	case TypeNamespace:
		return message(ParseNamespaceMsg(body))
	case TypeNamespaceDone:
		return message(ParseNamespaceDone(body))
	case TypePublishBlocked:
		return message(ParsePublishBlocked(body))
	}
	return nil, violation(t.String(), 0, "unknown message type")
}

// message makes a Message of a parser's result, nil if there is an error.
func message[M Message](m M, err error) (Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}
