// Package harness starts the real things that end-to-end tests need: the
// broadcastd binary, ffmpeg, and headless Chromium.
//
// Everything that is started ends with its test, and its output is shown when
// that test fails. A tool that is not installed skips the test, or fails it
// when the environment variable BROADCASTD_TEST_TOOLS is "required", which is
// how `make test` runs.
package harness
