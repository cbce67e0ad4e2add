package wire

import "bytes"

// MaxTokens is how many authorization tokens one message may carry; a house
// limit.
const MaxTokens = 64

// An AliasType says how a token is given (section 10.2.2).
type AliasType uint64

// The alias types.
const (
	TokenDelete   AliasType = 0x0 // Alias
	TokenRegister AliasType = 0x1 // Alias, Type, Value
	TokenUseAlias AliasType = 0x2 // Alias
	TokenUseValue AliasType = 0x3 // Type, Value
)

var aliasTypes = map[AliasType]string{
	TokenDelete:   "DELETE",
	TokenRegister: "REGISTER",
	TokenUseAlias: "USE_ALIAS",
	TokenUseValue: "USE_VALUE",
}

func (t AliasType) String() string { return name(aliasTypes, t) }

// A Token is an authorization token, or a reference to one (section 10.2.2).
// Which fields count, AliasType says; the others are zero.
type Token struct {
	AliasType AliasType
	Alias     uint64
	Type      uint64 // 0: agreed upon outside the protocol
	Value     []byte // nil for none
}

// Size returns what a registered token counts against the peer's
// MAX_AUTH_TOKEN_CACHE_SIZE, in bytes (section 10.3.1.3).
func (t Token) Size() uint64 { return 16 + uint64(len(t.Value)) }

// Append appends the Token structure, without its length, to b.
func (t Token) Append(b []byte) []byte {
	b = AppendVarint(b, uint64(t.AliasType))
	if t.AliasType != TokenUseValue {
		b = AppendVarint(b, t.Alias)
	}
	if t.AliasType == TokenRegister || t.AliasType == TokenUseValue {
		b = AppendVarint(b, t.Type)
		b = append(b, t.Value...)
	}
	return b
}

// ParseToken parses one whole Token structure. What cannot be decoded is a
// KEY_VALUE_FORMATTING_ERROR. The result does not alias b.
func ParseToken(b []byte) (Token, error) {
	c := cursor{b: b, in: "Token"}
	t := Token{AliasType: AliasType(c.varint("alias type"))}
	if t.AliasType > TokenUseValue {
		c.violate(0, "unknown alias type %v", t.AliasType)
	}
	if t.AliasType != TokenUseValue {
		t.Alias = c.varint("token alias")
	}
	if t.AliasType == TokenRegister || t.AliasType == TokenUseValue {
		t.Type = c.varint("token type")
		if value := c.rest(); len(value) > 0 {
			t.Value = bytes.Clone(value)
		}
	}
	if err := c.finish(); err != nil {
		c.err.Code = SessionKeyValueFormattingError
		return Token{}, err
	}
	return t, nil
}

// appendToken appends t with its length.
func appendToken(b []byte, t Token) []byte { return appendBytes(b, t.Append(nil)) }
