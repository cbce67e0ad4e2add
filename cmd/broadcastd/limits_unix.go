//go:build unix

package main

import (
	"log/slog"
	"syscall"
)

// warnFewFiles says when the process may open few files. The Go runtime has
// raised the soft limit to the hard one already.
func warnFewFiles(log *slog.Logger) {
	const enough = 4096
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < enough {
		log.Warn("few open files allowed; raise the hard limit (ulimit -Hn, or LimitNOFILE=)", "limit", limit.Cur)
	}
}
