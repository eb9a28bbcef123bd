// Package seeds reads and writes sets of seeds without listing them: an
// experiment may have a million.
package seeds

import pb "neoteny/proto/neoteny/v1"

// Pack writes consecutive seeds as first and count. The highest seed has no
// successor: 0 does not follow it.
func Pack(seeds []uint32) *pb.Seeds {
	if len(seeds) == 0 {
		return &pb.Seeds{}
	}
	for i, s := range seeds {
		if uint64(s) != uint64(seeds[0])+uint64(i) {
			return &pb.Seeds{List: seeds}
		}
	}
	return &pb.Seeds{First: seeds[0], Count: int32(len(seeds))}
}

// Set reads packed seeds. The zero value is empty.
type Set struct{ Packed *pb.Seeds }

// One is the set of a single seed.
func One(seed uint32) Set { return Set{&pb.Seeds{List: []uint32{seed}}} }

// Len is the number of seeds.
func (s Set) Len() int {
	if l := s.Packed.GetList(); len(l) > 0 {
		return len(l)
	}
	return int(s.Packed.GetCount())
}

// At is the seed at a place, of 0 to Len()-1.
func (s Set) At(i int) uint32 {
	if l := s.Packed.GetList(); len(l) > 0 {
		return l[i]
	}
	return s.Packed.GetFirst() + uint32(i)
}

// Index is the place of a seed, -1 where it is not in the set.
func (s Set) Index(seed uint32) int {
	if l := s.Packed.GetList(); len(l) > 0 {
		for i, x := range l {
			if x == seed {
				return i
			}
		}
		return -1
	}
	if i := int64(seed) - int64(s.Packed.GetFirst()); i >= 0 && i < int64(s.Packed.GetCount()) {
		return int(i)
	}
	return -1
}
