package client

// InputSettings are what a live input allows and does. The zero value is an
// input as it is made.
type InputSettings struct {
	// AnyIngest lets encoders come by other protocols than Ingest names.
	AnyIngest bool `json:"anyIngest,omitempty"`
	// AllowFrom are the addresses and prefixes that may publish. Empty: all.
	AllowFrom []string `json:"allowFrom,omitempty"`
	// Takeover says what happens to an encoder when a second one comes: "replace"
	// (empty means that too) or "refuse".
	Takeover string `json:"takeover,omitempty"`
	// MaxBitrate bounds what comes in, in bits per second. Zero: not.
	MaxBitrate int64 `json:"maxBitrate,omitempty"`
	// MaxTracks bounds the tracks. Zero: the server's bound.
	MaxTracks int `json:"maxTracks,omitempty"`
	// GroupDurationMs is the least length of a group, in milliseconds. Zero: the
	// server's.
	GroupDurationMs int `json:"groupDurationMs,omitempty"`
	// RequireEncryption refuses encoders that send in the clear.
	RequireEncryption bool `json:"requireEncryption,omitempty"`
	// Record keeps what comes in.
	Record bool `json:"record,omitempty"`
	// StartoverWindowSeconds is how far back viewers may go.
	StartoverWindowSeconds int `json:"startoverWindowSeconds,omitempty"`
	// Backup is the external id of the live input whose media goes out while the
	// encoder brings none, and Pull the URL that an input of the kind HLS pulls
	// from. URLs are shown without user, password and query.
	Backup string `json:"backup,omitempty"`
	Pull   string `json:"pull,omitempty"`
}

// An InputSettingsPatch changes settings; what is nil stays, and a zero value
// sets a setting back.
type InputSettingsPatch struct {
	AnyIngest              *bool     `json:"anyIngest,omitempty"`
	AllowFrom              *[]string `json:"allowFrom,omitempty"`
	Takeover               *string   `json:"takeover,omitempty"`
	MaxBitrate             *int64    `json:"maxBitrate,omitempty"`
	MaxTracks              *int      `json:"maxTracks,omitempty"`
	GroupDurationMs        *int      `json:"groupDurationMs,omitempty"`
	RequireEncryption      *bool     `json:"requireEncryption,omitempty"`
	Record                 *bool     `json:"record,omitempty"`
	StartoverWindowSeconds *int      `json:"startoverWindowSeconds,omitempty"`
	Backup                 *string   `json:"backup,omitempty"`
	Pull                   *string   `json:"pull,omitempty"`
}
