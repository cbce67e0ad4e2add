package codec

import "fmt"

// An Entry is a type of sample entry that can be carried: where its decoder
// configuration is and who reads it. Either Video or Audio is set.
type Entry struct {
	Config  string // type of the box inside that has the configuration
	FullBox bool   // that box begins with version and flags
	Version byte   // the version that is written there
	Video   func(config []byte) (Video, error)
	Audio   func(config []byte) (Audio, error)
}

// EntryOf returns the Entry of a sample entry's type, four characters. The
// error for one that cannot be carried names its codec.
func EntryOf(typ string) (Entry, error) {
	switch typ {
	case "avc1", "avc3":
		return Entry{Config: "avcC", Video: func(b []byte) (Video, error) { return AVC(typ, b) }}, nil
	case "hvc1", "hev1":
		return Entry{Config: "hvcC", Video: func(b []byte) (Video, error) { return HEVC(typ, b) }}, nil
	case "av01":
		return Entry{Config: "av1C", Video: AV1}, nil
	case "vp09":
		return Entry{Config: "vpcC", FullBox: true, Version: 1, Video: VP9}, nil
	case "mp4a":
		return Entry{Config: "esds", FullBox: true, Audio: ESDS}, nil
	case "Opus":
		return Entry{Config: "dOps", Audio: Opus}, nil
	case "fLaC":
		return Entry{Config: "dfLa", FullBox: true, Audio: FLAC}, nil
	case "ac-3":
		return Entry{Config: "dac3", Audio: AC3}, nil
	case "ec-3":
		return Entry{Config: "dec3", Audio: EAC3}, nil
	}
	return Entry{}, fmt.Errorf("%s cannot be carried; H.264, HEVC, AV1, VP9, AAC, Opus, FLAC, AC-3 and E-AC-3 can", nameOf(typ))
}

// nameOf returns what people call the codec of a sample entry.
func nameOf(typ string) string {
	switch typ {
	case "vp08":
		return "VP8"
	case "vvc1", "vvi1":
		return "VVC"
	case "mp4v":
		return "MPEG-4 Visual"
	case "dvh1", "dvhe", "dva1", "dvav", "dav1":
		return "Dolby Vision without a compatible base (" + typ + ")"
	case "ac-4":
		return "AC-4"
	case "alac":
		return "ALAC"
	case "mha1", "mhm1":
		return "MPEG-H 3D Audio"
	case ".mp3", "mp3 ":
		return "MP3"
	case "ipcm", "fpcm", "lpcm", "sowt", "twos", "in24", "in32", "fl32", "raw ":
		return "PCM (" + typ + ")"
	case "encv", "enca":
		return "an encrypted track (" + typ + ")"
	}
	return "the codec " + typ
}

// objectName returns what people call an object type indication of MPEG-4
// systems, other than AAC.
func objectName(object byte) string {
	switch object {
	case 0x66, 0x67, 0x68:
		return "MPEG-2 AAC"
	case 0x69, 0x6b:
		return "MP3"
	case 0xa5:
		return "AC-3"
	case 0xa6:
		return "E-AC-3"
	case 0xa9, 0xac:
		return "DTS"
	case 0xad:
		return "Opus in mp4a"
	case 0xdd:
		return "Vorbis"
	}
	return "unknown"
}
