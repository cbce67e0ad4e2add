package main

import (
	"github.com/spf13/cobra"

	benchrun "github.com/broadcastd/broadcastd/bench/run"
)

func (p process) benchChildCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "child",
		Short:  "A process that bench starts: a server's keeper, publisher or viewers",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return benchrun.Child(cmd.Context(), p.in, p.out)
		},
	}
}
