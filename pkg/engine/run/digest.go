package run

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math"

	"neoteny/pkg/engine/graph"
)

// digest hashes the persistent variables: names, types, shapes and bytes, in
// the order in which they were made.
func (l *Life) digest() [32]byte {
	h := sha256.New()
	for _, v := range l.learner.Store().Vars() {
		if v.Keep == graph.Persistent {
			fmt.Fprintf(h, "%s %s %s\n", v.Name, v.Type, v.Shape)
			hashVar(h, v)
		}
	}
	var d [32]byte
	h.Sum(d[:0])
	return d
}

func hashVar(h hash.Hash, v *graph.Var) {
	var buf [8192]byte
	n := 0
	flush := func(need int) {
		if n+need > len(buf) {
			h.Write(buf[:n])
			n = 0
		}
	}
	for _, x := range v.F32 {
		flush(4)
		binary.LittleEndian.PutUint32(buf[n:], math.Float32bits(x))
		n += 4
	}
	for _, x := range v.F64 {
		flush(8)
		binary.LittleEndian.PutUint64(buf[n:], math.Float64bits(x))
		n += 8
	}
	for _, x := range v.I32 {
		flush(4)
		binary.LittleEndian.PutUint32(buf[n:], uint32(x))
		n += 4
	}
	h.Write(buf[:n])
	h.Write(v.U8)
}
