package dataimport

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"slices"

	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
)

// hold moves a share of the training examples to the test split: round(share·n) of each class's n, or of all for
// regression, as drawn by a key made of the content. The same content is so always split alike, whatever file it came
// in and whatever it is called. Examples stay in their order.
func (r *Result) hold(share float64) error {
	whole := &data.Dataset{Meta: r.Meta, TrainSplit: r.TrainSplit}
	if err := whole.WriteContainer(io.Discard); err != nil {
		return err
	}
	digest, err := hex.DecodeString(whole.Digest())
	if err != nil {
		return err
	}
	key := rng.New(binary.LittleEndian.Uint64(digest), "hold out")
	groups := make([][]int, max(1, r.Classes))
	for i := range r.TrainSplit.N {
		g := 0
		if r.Classes > 0 {
			g = int(r.TrainSplit.Y[i])
		}
		groups[g] = append(groups[g], i)
	}
	held := make([]bool, r.TrainSplit.N)
	count := 0
	for g, group := range groups {
		order := make([]int32, len(group))
		key.Perm(order, uint64(g))
		n := int(math.Floor(share*float64(len(group)) + 0.5))
		if n == len(group) {
			return fmt.Errorf("a share of %v for the test leaves no training example of class %s: take a smaller one", share, slices.Concat(r.ClassNames, []string{"all"})[g])
		}
		for _, k := range order[:n] {
			held[group[k]] = true
			count++
		}
	}
	if count == 0 {
		return fmt.Errorf("a share of %v for the test is not one example of any class: take a larger one", share)
	}
	all := r.TrainSplit
	r.TrainSplit, r.TestSplit = data.Split{}, data.Split{}
	size := r.Size()
	for i := range all.N {
		s := &r.TrainSplit
		if held[i] {
			s = &r.TestSplit
		}
		s.N++
		if r.Floats {
			s.F = append(s.F, all.F[i*size:(i+1)*size]...)
		} else {
			s.X = append(s.X, all.X[i*size:(i+1)*size]...)
		}
		if r.Classes > 0 {
			s.Y = append(s.Y, all.Y[i])
		} else {
			s.T = append(s.T, all.T[i*r.Targets:(i+1)*r.Targets]...)
		}
	}
	return nil
}
