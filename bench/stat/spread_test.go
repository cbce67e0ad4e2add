package stat

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
)

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		name              string
		values            []Number
		median, low, high Number
		coverage          float64
	}{
		{"one", []Number{3}, 3, 3, 3, 0},
		{"odd", []Number{3, 1, 2}, 2, 1, 3, 0.75},
		{"even", []Number{4, 1, 2, 3}, 2.5, 1, 4, 0.875},
		{"six is the least for 95 %", []Number{6, 5, 4, 3, 2, 1}, 3.5, 1, 6, 0.96875},
		{"nine leave one out at each end", []Number{9, 8, 7, 6, 5, 4, 3, 2, 1}, 5, 2, 8, 1 - 2*10.0/512},
		{"not known once", []Number{1, NaN}, NaN, NaN, NaN, 0},
		{"infinite once", []Number{1, Number(math.Inf(1))}, NaN, NaN, NaN, 0},
		{"nothing", nil, NaN, NaN, NaN, 0},
	} {
		got := Of(tt.values)
		if !same(got.Median, tt.median) || !same(got.Low, tt.low) || !same(got.High, tt.high) || math.Abs(got.Coverage-tt.coverage) > 1e-9 {
			t.Errorf("%s: Of(%v) = %+v, want %v (%v–%v) %v", tt.name, tt.values, got, tt.median, tt.low, tt.high, tt.coverage)
		}
	}
}

func same(a, b Number) bool { return a == b || !a.Known() && !b.Known() }

// TestCoverage draws from a skewed distribution and counts how often the
// interval holds the true median.
func TestCoverage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	trueMedian := Number(math.Ln2) // of the exponential distribution
	for _, n := range []int{6, 9, 15, 30} {
		const rounds = 4000
		var held int
		var said float64
		for range rounds {
			v := make([]Number, n)
			for i := range v {
				v[i] = Number(r.ExpFloat64())
			}
			s := Of(v)
			if s.Low <= trueMedian && trueMedian <= s.High {
				held++
			}
			said = s.Coverage
		}
		if got := float64(held) / rounds; said < Wanted || math.Abs(got-said) > 0.015 {
			t.Errorf("n = %d: the interval held the median in %.3f of all cases and says %.3f, want the same and at least %v", n, got, said, Wanted)
		}
	}
}

func TestRatios(t *testing.T) {
	inf := Number(math.Inf(1))
	got := Ratios([]Number{2, 3, inf, 1}, []Number{1, 2, 1, 0})
	if len(got) != 4 || got[0] != 2 || got[1] != 1.5 || got[2].Known() || got[3].Known() {
		t.Errorf("Ratios = %v, want [2 1.5 NaN NaN]", got)
	}
	if d := Differences([]Number{2, 3}, []Number{1, 5, 7}); len(d) != 2 || d[0] != 1 || d[1] != -2 {
		t.Errorf("Differences = %v, want [1 -2]", d)
	}
}

func TestNumberJSON(t *testing.T) {
	text, err := json.Marshal([]Number{1.5, NaN, Number(math.Inf(-1))})
	if err != nil || string(text) != "[1.5,null,null]" {
		t.Fatalf("Marshal = %s, %v", text, err)
	}
	var back []Number
	if err := json.Unmarshal(text, &back); err != nil || back[0] != 1.5 || back[1].Known() {
		t.Errorf("Unmarshal = %v, %v", back, err)
	}
}
