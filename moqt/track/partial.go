package track

// Partial reports whether the stream that fills the subgroup stands inside an
// object or its header: that more has to come, and soon.
func (w *SubgroupWriter) Partial() bool { return len(w.head) > 0 || w.payload > 0 }
