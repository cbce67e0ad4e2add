// Package web serves the pages that people open: `/`, which lists the live
// broadcasts and plays one, and `/watch/{id}`, which plays one on the full
// page. Both read GET /api/v1/broadcasts of
// internal/api.
//
// The pages are built from the sources in the folder web; what a build makes
// is committed in dist, so that Go alone builds the binary.
package web
