package main

import (
	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/bench"
)

func (p process) benchChildCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "child",
		Short:  "A process that bench starts: a server's keeper, publisher or viewers",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.Child(cmd.Context(), p.in, p.out)
		},
	}
}
