// Package analyses has the analyses that come with neoteny, one file each.
package analyses

import (
	"encoding/binary"
	"fmt"
	"math"

	"neoteny/pkg/engine/safetensors"
)

// tensors returns the tensors of a file by name.
func tensors(file []byte) (map[string]safetensors.Tensor, error) {
	f, err := safetensors.Decode(file)
	if err != nil {
		return nil, err
	}
	return f.ByName(), nil
}

// numbers returns the elements of a tensor of 32-bit numbers.
func numbers(all map[string]safetensors.Tensor, name string) ([]float64, error) {
	t, ok := all[name]
	if !ok {
		return nil, fmt.Errorf("the file has no tensor %s", name)
	}
	out := make([]float64, len(t.Data)/4)
	for i := range out {
		bits := binary.LittleEndian.Uint32(t.Data[4*i:])
		switch t.DType {
		case "F32":
			out[i] = float64(math.Float32frombits(bits))
		case "I32":
			out[i] = float64(int32(bits))
		default:
			return nil, fmt.Errorf("tensor %s has elements of type %s, needed is F32 or I32", name, t.DType)
		}
	}
	return out, nil
}

func floats32(name string, values []float64) safetensors.Tensor {
	b := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(float32(v)))
	}
	return safetensors.Tensor{Name: name, DType: "F32", Shape: []int{len(values)}, Data: b}
}

func ints32(name string, values []int) safetensors.Tensor {
	b := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(int32(v)))
	}
	return safetensors.Tensor{Name: name, DType: "I32", Shape: []int{len(values)}, Data: b}
}
