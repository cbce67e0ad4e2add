# run and build need Go alone. test installs what it needs besides, if it is missing.

GOFUMPT  = go run mvdan.cc/gofumpt@v0.9.2
GOLANGCI = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.7.2

# Tests of the whole start daemons and browsers, which must not share the
# machine with other tests. Those of conformance start nothing.
UNIT = $$(go list ./... | grep -vE '/test/(browser|e2e|harness|matrix)')

.PHONY: run build test unit check interop matrix bench bench-cpu bench-full soak web

# The daemon with the built-in clip: make run ARGS="--http.listen :8081"
run: build
	bin/broadcastd serve --demo $(ARGS)

build:
	go build -trimpath -o bin/broadcastd ./cmd/broadcastd

test:
	.ci/deps
	$(MAKE) unit
	npm --prefix web test
	npm --prefix web run check
	BROADCASTD_TEST_TOOLS=required go test -count=1 -p 1 -parallel 6 -timeout 5m ./test/browser ./test/e2e ./test/matrix

# What needs no browser. Allocations are counted apart, because the race
# detector makes its own; most of the simulator's seeds and minutes of virtual
# time, because it is slow.
unit:
	go vet ./...
	BROADCASTD_TEST_TOOLS=required go test -race -shuffle=on -timeout 5m $(UNIT)
	go test -run Alloc $(UNIT)
	go test -run 'Seeds|Replay|Churn' ./moqt/relay/sim
	go test -run 'Pressure|Overload|RandomLoss|Unsent|Stalled' ./moqt/transport

check:
	test -z "$$($(GOFUMPT) -l -extra $$(git ls-files '*.go') | tee /dev/stderr)"
	go vet ./...
	$(GOLANGCI) run
	.ci/fuzz 20000x
	.ci/promtool check rules deploy/alerts.yaml
	BROADCASTD_PROMTOOL=required go test -count=1 -run TestMetrics ./test/e2e

# Every goal of the project, row by row, in three rounds: within ten minutes, and
# once a minute or two to build MediaMTX. bench-cpu takes the rows of CPU per GB
# alone, in nine rounds and ten minutes; bench-full takes all of them so, for hours,
# and puts them into docs/performance.md.
bench: build
	bin/broadcastd bench reach

bench-cpu: build
	bin/broadcastd bench reach --full --rows cpu --rounds 9 --budget 15m --json bin/bench-cpu.json

bench-full: build
	bin/broadcastd bench reach --full --rounds 9 --json bin/bench.json --html bin/bench.html
	bin/broadcastd bench docs bin/bench.json
	go test -run '^$$' -bench . -count 10 ./cmaf ./moqt/wire ./moqt/track ./moqt/egress ./hls/playlist

# Foreign players, publishers and codecs against ours.
interop:
	.ci/deps
	BROADCASTD_TEST_TOOLS=required go test -count=1 -v -timeout 5m -run Oracle ./moqt/wire
	BROADCASTD_TEST_TOOLS=required go test -count=1 -v -timeout 5m ./test/browser

# The pages in internal/web/dist, from their sources in web.
web:
	npm --prefix web ci --no-audit --no-fund
	npm --prefix web run build

# A hundred kills of a process that writes its state, the simulator for hours, then
# viewers that come and go.
soak:
	go test -count=1 -timeout 1h -v -run Kill ./internal/control -kill.rounds=100
	go test -count=1 -timeout 24h -v -run Seeds ./moqt/relay/sim -sim.seeds=100000
	go test -count=1 -timeout 24h -v -run Churn ./moqt/relay/sim -churn.cycles=100000

# Every protocol and codec that an input takes, from real senders: a few minutes,
# and once a minute or two to build MediaMTX. It writes the table in docs/ingest.md.
matrix:
	.ci/deps
	BROADCASTD_TEST_TOOLS=required go test -count=1 -parallel 4 -timeout 30m ./test/matrix -matrix -update
