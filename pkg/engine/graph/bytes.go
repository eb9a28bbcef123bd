package graph

import (
	"encoding/binary"
	"math"
)

// Bytes returns a variable's elements, little endian, as files hold them.
func (v *Var) Bytes() []byte {
	switch v.Type {
	case F32:
		b := make([]byte, 4*len(v.F32))
		for i, x := range v.F32 {
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
		}
		return b
	case F64:
		b := make([]byte, 8*len(v.F64))
		for i, x := range v.F64 {
			binary.LittleEndian.PutUint64(b[8*i:], math.Float64bits(x))
		}
		return b
	case I32:
		b := make([]byte, 4*len(v.I32))
		for i, x := range v.I32 {
			binary.LittleEndian.PutUint32(b[4*i:], uint32(x))
		}
		return b
	}
	return v.U8
}

// SetBytes is the reverse of [Var.Bytes]; b has the variable's length.
func (v *Var) SetBytes(b []byte) {
	switch v.Type {
	case F32:
		for i := range v.F32 {
			v.F32[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
	case F64:
		for i := range v.F64 {
			v.F64[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		}
	case I32:
		for i := range v.I32 {
			v.I32[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
		}
	case U8:
		copy(v.U8, b)
	}
}
