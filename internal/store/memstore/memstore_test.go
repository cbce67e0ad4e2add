package memstore_test

import (
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/store"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
	"github.com/broadcastd/broadcastd/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Driver{
		Open: func(_ testing.TB, _ string, now func() time.Time) store.Store { return memstore.New(now) }, Forgets: true,
	})
}
