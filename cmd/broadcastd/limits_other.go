//go:build !unix

package main

import "log/slog"

func warnFewFiles(*slog.Logger) {}
