package client

// InputSettings are what a live input allows and does. The zero value is an
// input as it is made.
type InputSettings struct {
	// AnyIngest lets encoders come by other protocols than Ingest names.
	AnyIngest bool `json:"anyIngest,omitempty"`
	// AllowFrom are the addresses that may publish, as CIDR prefixes. Empty: all.
	AllowFrom []string `json:"allowFrom,omitempty"`
	// Takeover says what happens to an encoder when a second one comes: "replace"
	// (empty means that too) or "refuse".
	Takeover string `json:"takeover,omitempty"`
	// MaxBitrate bounds what comes in, in bits per second. Zero: not.
	MaxBitrate int64 `json:"maxBitrate,omitempty"`
	MaxTracks  int   `json:"maxTracks,omitempty"`
	// RequireEncryption refuses encoders that send in the clear.
	RequireEncryption bool `json:"requireEncryption,omitempty"`
}

// An InputSettingsPatch changes settings; what is nil stays.
type InputSettingsPatch struct {
	AnyIngest         *bool     `json:"anyIngest,omitempty"`
	AllowFrom         *[]string `json:"allowFrom,omitempty"`
	Takeover          *string   `json:"takeover,omitempty"`
	MaxBitrate        *int64    `json:"maxBitrate,omitempty"`
	MaxTracks         *int      `json:"maxTracks,omitempty"`
	RequireEncryption *bool     `json:"requireEncryption,omitempty"`
}
