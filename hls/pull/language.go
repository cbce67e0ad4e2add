package pull

import "strings"

// languages pairs the two letters of RFC 5646 with ISO 639-2/T codes, for the
// languages of most broadcasts.
const languages = "ar:ara bn:ben bg:bul ca:cat cs:ces cy:cym da:dan de:deu el:ell en:eng et:est eu:eus fa:fas fi:fin fr:fra " +
	"ga:gle gl:glg he:heb hi:hin hr:hrv hu:hun hy:hye id:ind is:isl it:ita ja:jpn ka:kat kk:kaz ko:kor lv:lav lt:lit " +
	"mr:mar mk:mkd ms:msa nl:nld nn:nno nb:nob no:nor pa:pan pl:pol pt:por ro:ron ru:rus sk:slk sl:slv es:spa sq:sqi " +
	"sr:srp sw:swa sv:swe ta:tam te:tel th:tha tr:tur uk:ukr ur:urd uz:uzb vi:vie zh:zho "

// iso639 returns the ISO 639-2/T code of a language tag, empty if it is not
// known.
func iso639(tag string) string {
	code, _, _ := strings.Cut(strings.ToLower(tag), "-")
	switch len(code) {
	case 2:
		if i := strings.Index(languages, code+":"); i >= 0 {
			return languages[i+3 : i+6]
		}
	case 3:
		return code
	}
	return ""
}
