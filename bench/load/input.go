package load

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// An Input is how media comes in.
type Input string

// The inputs.
const (
	InputMoQ  Input = ""     // as the viewers have it: MoQ, or the ceiling's protocol
	InputCMAF Input = "cmaf" // CMAF chunks in an HTTP POST for each track
	InputRTMP Input = "rtmp"
)

// String returns the name that people use.
func (in Input) String() string {
	if in == InputMoQ {
		return "moq"
	}
	return string(in)
}

// An inputInfo is an input that a server turns into a broadcast. One that is added
// gets a line in inputs, an address in Target if it needs one of its own, and a
// publisherConn.
type inputInfo struct {
	input Input
	about string
	// dial connects to where t takes the input.
	dial func(ctx context.Context, t Target, prof Profile) (publisherConn, error)
}

func inputs() []inputInfo {
	return []inputInfo{
		{InputCMAF, "CMAF over HTTP", func(ctx context.Context, t Target, prof Profile) (publisherConn, error) {
			if t.HTTP == "" {
				return nil, fmt.Errorf("load: the %s takes no CMAF", t.Party)
			}
			return dialPush(ctx, t.HTTP, prof)
		}},
		{InputRTMP, "RTMP", func(ctx context.Context, t Target, prof Profile) (publisherConn, error) {
			if t.RTMP == "" {
				return nil, fmt.Errorf("load: the %s takes no RTMP", t.Party)
			}
			return dialRTMP(ctx, t.RTMP, prof)
		}},
	}
}

// InputNamed returns the input of a name that people use.
func InputNamed(name string) (Input, error) {
	if name == InputMoQ.String() {
		return InputMoQ, nil
	}
	in, err := Input(name).info()
	return in.input, err
}

// InputsText lists the inputs beside MoQ for people.
func InputsText() string {
	var list []string
	for _, in := range inputs() {
		list = append(list, fmt.Sprintf("%s (%s)", in.input, in.about))
	}
	return strings.Join(list, ", ")
}

func (in Input) info() (inputInfo, error) {
	list := inputs()
	i := slices.IndexFunc(list, func(o inputInfo) bool { return o.input == in })
	if i < 0 {
		return inputInfo{}, fmt.Errorf("there is no input %q, but moq and %s", string(in), InputsText())
	}
	return list[i], nil
}
