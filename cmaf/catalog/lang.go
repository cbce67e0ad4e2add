package catalog

import "strings"

// iso639 pairs ISO 639-2/T codes with the two letters that BCP 47 wants in
// their place (RFC 5646 section 2.2.1), for the languages of most broadcasts.
const iso639 = "ara:ar ben:bn bul:bg cat:ca ces:cs cym:cy dan:da deu:de ell:el eng:en est:et eus:eu fas:fa fin:fi fra:fr " +
	"gle:ga glg:gl heb:he hin:hi hrv:hr hun:hu hye:hy ind:id isl:is ita:it jpn:ja kat:ka kaz:kk kor:ko lav:lv lit:lt " +
	"mar:mr mkd:mk msa:ms nld:nl nno:nn nob:nb nor:no pan:pa pol:pl por:pt ron:ro rus:ru slk:sk slv:sl spa:es sqi:sq " +
	"srp:sr swa:sw swe:sv tam:ta tel:te tha:th tur:tr ukr:uk urd:ur uzb:uz vie:vi zho:zh "

// bcp47 returns the language tag for an ISO 639-2/T code. A code without two
// letters is a tag as it is.
func bcp47(code string) string {
	if i := strings.Index(iso639, code+":"); len(code) == 3 && i >= 0 {
		return iso639[i+4 : i+6]
	}
	return code
}
