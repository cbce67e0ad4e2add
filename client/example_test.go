package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/internal/api"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
)

// exampleServer is what the examples run against.
func exampleServer() (url, key string, stop func()) {
	service, err := control.Open(context.Background(), control.Config{
		Store: memstore.New(nil), Secrets: controltest.Secrets(), AdminKey: controltest.AdminKey,
	})
	if err != nil {
		log.Fatal(err)
	}
	handler, err := api.New(api.Config{Control: service})
	if err != nil {
		log.Fatal(err)
	}
	s := httptest.NewServer(handler)
	return s.URL, controltest.AdminKey, func() {
		handler.Close()
		s.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	}
}

func Example() {
	url, key, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Config{URL: url, Key: key})
	if err != nil {
		log.Fatal(err)
	}
	studio, err := c.LiveInputs.Create(ctx, client.NewLiveInput{Name: "Studio 1"})
	if err != nil {
		log.Fatal(err)
	}
	// The stream key is shown this once: keep it for the encoder.
	fmt.Println(studio.Name, studio.Ingest, studio.Status, studio.StreamKey != "")

	play, err := c.LiveInputs.PlaybackURL(ctx, studio.ID, client.PlaybackOptions{TTL: 10 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(play.Alg, time.Until(play.ExpiresAt) > 9*time.Minute)
	// Output:
	// Studio 1 fmp4 idle true
	// Ed25519 true
}

func ExampleError() {
	url, key, stop := exampleServer()
	defer stop()
	c, err := client.New(client.Config{URL: url, Key: key})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.LiveInputs.Get(context.Background(), "lv_gone")
	fmt.Println(errors.Is(err, client.ErrNotFound))
	if e, ok := errors.AsType[*client.Error](err); ok {
		fmt.Println(e.Status)
	}
	// Output:
	// true
	// 404
}

func ExampleAll() {
	url, key, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Config{URL: url, Key: key})
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"Studio 1", "Studio 2", "Door"} {
		if _, err := c.LiveInputs.Create(ctx, client.NewLiveInput{Name: name}); err != nil {
			log.Fatal(err)
		}
	}
	for input, err := range client.All(ctx, c.LiveInputs.List, client.Page{Limit: 2}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(input.Name)
	}
	// Unordered output:
	// Studio 1
	// Studio 2
	// Door
}

func ExampleEvents_Follow() {
	url, key, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Config{URL: url, Key: key})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.LiveInputs.Create(ctx, client.NewLiveInput{Name: "Studio 1"}); err != nil {
		log.Fatal(err)
	}
	for event, err := range c.Events.Follow(ctx, client.EventOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		if event.Type == "input.created" {
			fmt.Println(event.Data["name"])
			break
		}
	}
	// Output: Studio 1
}

// An encoder's fragmented MP4 on standard input goes into a live input.
func ExampleStreams_OpenPublisher() {
	streams := client.Streams{Relay: "moqt://live.example:4443"}
	pub, err := streams.OpenPublisher(context.Background(), client.PublisherConfig{
		Input: "lv_9x7q", StreamKey: os.Getenv("STREAM_KEY"),
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := pub.ReadFrom(os.Stdin); err != nil {
		log.Print(err)
	}
	reason, err := pub.Close(client.Finished)
	fmt.Println(reason, err)
}

// What a signed URL plays is written to a file that any player reads.
func ExampleStreams_Viewer() {
	file, err := os.Create("out.mp4")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	viewer, err := client.Streams{}.Viewer(client.ViewerConfig{Play: os.Getenv("PLAYBACK_URL")})
	if err != nil {
		log.Fatal(err)
	}
	reason, err := viewer.Run(context.Background(), func(c client.Chunk) error {
		_, err := file.Write(c.Data) // the first is the header
		return err
	})
	fmt.Println(reason, err)
}

func ExampleParseCatalog() {
	c, err := client.ParseCatalog([]byte(`{"version":1,"live":true,"tracks":[
		{"name":"init/video","kind":"video","codec":"avc1.64001f","width":1280,"height":720},
		{"name":"init/audio","kind":"audio","codec":"mp4a.40.2","sampleRate":48000,"channels":2}]}`))
	if err != nil {
		log.Fatal(err)
	}
	if v, ok := client.VideoTrack(c); ok {
		fmt.Println(client.MSEType(v), v.Width, v.Height)
	}
	if a, ok := client.AudioTrack(c); ok {
		fmt.Println(client.MSEType(a), a.SampleRate)
	}
	// Output:
	// video/mp4; codecs="avc1.64001f" 1280 720
	// audio/mp4; codecs="mp4a.40.2" 48000
}
