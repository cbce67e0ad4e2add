package api

import (
	"context"
	"net/http"

	"github.com/broadcastd/broadcastd/internal/control"
)

func (h *Handler) registerPassphrases() {
	const tag = "Live inputs"
	write := needs(control.StreamsWrite)
	register(h, write, operation{
		id: "rotate-passphrase", method: http.MethodPost, path: "/live-inputs/{id}/rotate-passphrase", tag: tag,
		summary: "Give a live input another SRT passphrase", about: "The answer alone has it. The one before counts until the next is made.",
	}, h.rotatePassphrase)
	register(h, write, operation{
		id: "set-passphrase", method: http.MethodPut, path: "/live-inputs/{id}/passphrase", tag: tag,
		summary: "Set the SRT passphrase of a live input", about: "It takes the place of all others; an empty one takes them away.",
	}, h.setPassphrase)
}

func (h *Handler) rotatePassphrase(ctx context.Context, c caller, in *InputID) (*inputOutput, error) {
	found, err := h.input(ctx, c, control.StreamsWrite, in.ID)
	if err != nil {
		return nil, err
	}
	found, phrase, err := h.cfg.Control.RotatePassphrase(ctx, found.ID)
	if err != nil {
		return nil, err
	}
	out := h.inputOutput(c, found, "")
	out.Body.Passphrase = phrase
	return out, nil
}

type setPassphraseInput struct {
	InputID
	Body struct {
		Passphrase string `json:"passphrase" maxLength:"79" doc:"10 to 79 bytes, or empty for none"`
	}
}

func (h *Handler) setPassphrase(ctx context.Context, c caller, in *setPassphraseInput) (*inputOutput, error) {
	found, err := h.input(ctx, c, control.StreamsWrite, in.ID)
	if err != nil {
		return nil, err
	}
	if found, err = h.cfg.Control.SetPassphrase(ctx, found.ID, in.Body.Passphrase); err != nil {
		return nil, err
	}
	return h.inputOutput(c, found, ""), nil
}
