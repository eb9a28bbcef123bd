package dataimport

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"

	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
)

// HoldOut moves a share of the training examples to the test split: round(share·n) of each class's n, or of all for
// regression, as drawn by a key made of the content. The same content is so always split alike, whatever file it came
// in and whatever it is called. Examples stay in their order.
func HoldOut(d *data.Dataset, share float64) error {
	whole := &data.Dataset{Meta: d.Meta, TrainSplit: d.TrainSplit}
	if err := whole.WriteContainer(io.Discard); err != nil {
		return err
	}
	digest, err := hex.DecodeString(whole.Digest())
	if err != nil {
		return err
	}
	key := rng.New(binary.LittleEndian.Uint64(digest), "hold out")
	groups := make([][]int, max(1, d.Classes))
	for i := range d.TrainSplit.N {
		g := 0
		if d.Classes > 0 {
			g = int(d.TrainSplit.Y[i])
		}
		groups[g] = append(groups[g], i)
	}
	held := make([]bool, d.TrainSplit.N)
	count := 0
	for g, group := range groups {
		order := make([]int32, len(group))
		key.Perm(order, uint64(g))
		n := int(math.Floor(share*float64(len(group)) + 0.5))
		if n == len(group) {
			return fmt.Errorf("a share of %v for the test leaves no training example of class %d: take a smaller one", share, g)
		}
		for _, k := range order[:n] {
			held[group[k]] = true
			count++
		}
	}
	if count == 0 {
		return fmt.Errorf("a share of %v for the test is not one example of any class: take a larger one", share)
	}
	all := d.TrainSplit
	d.TrainSplit, d.TestSplit = data.Split{}, data.Split{}
	size := d.Size()
	for i := range all.N {
		s := &d.TrainSplit
		if held[i] {
			s = &d.TestSplit
		}
		s.N++
		if d.Floats {
			s.F = append(s.F, all.F[i*size:(i+1)*size]...)
		} else {
			s.X = append(s.X, all.X[i*size:(i+1)*size]...)
		}
		if d.Classes > 0 {
			s.Y = append(s.Y, all.Y[i])
		} else {
			s.T = append(s.T, all.T[i*d.Targets:(i+1)*d.Targets]...)
		}
	}
	return nil
}
