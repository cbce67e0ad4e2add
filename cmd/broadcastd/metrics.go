package main

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/broadcastd/broadcastd/internal/control"
)

// keyedMetrics serves /metrics at the public listener, to whom shows the admin key
// or an API key for metrics of all organisations: its figures are of the whole
// daemon.
func keyedMetrics(c *control.Service, reg prometheus.Gatherer) http.Handler {
	metrics := promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		who, err := c.Authenticate(r.Context(), cmp.Or(strings.TrimSpace(key), r.Header.Get("X-API-Key")))
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		if err := who.May(control.MetricsRead, control.AnyOrg); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		metrics.ServeHTTP(w, r)
	})
}
