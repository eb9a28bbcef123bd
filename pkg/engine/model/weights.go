package model

import (
	"bytes"
	"fmt"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/safetensors"
)

// Vars returns the variables of a store that are the network's: parameters, and
// statistics of normalisations.
func Vars(s *graph.Store) []*graph.Var {
	var vars []*graph.Var
	for _, v := range s.Of(graph.OfNetwork) {
		if v.Keep == graph.Persistent {
			vars = append(vars, v)
		}
	}
	return vars
}

// EncodeWeights returns the artifact [component.Weights] of the network in a store.
func EncodeWeights(s *graph.Store) ([]byte, error) {
	f := &safetensors.File{Metadata: map[string]string{"format": "neoteny-weights/1"}}
	for _, v := range Vars(s) {
		f.Tensors = append(f.Tensors, safetensors.Tensor{Name: v.Name, DType: v.Type.String(), Shape: v.Shape, Data: v.Bytes()})
	}
	var buf bytes.Buffer
	if err := safetensors.Encode(&buf, f); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// SetWeights gives the network in a store the weights of a file as [component.Weights]
// has them: of the same network, every parameter and statistic.
func SetWeights(s *graph.Store, b []byte) error {
	f, err := safetensors.Decode(b)
	if err != nil {
		return fmt.Errorf("set weights: %w", err)
	}
	given := f.ByName()
	for _, v := range Vars(s) {
		t, ok := given[v.Name]
		if !ok || t.DType != v.Type.String() || !v.Shape.Equal(t.Shape) {
			return fmt.Errorf("set weights: %s is %s %v in the file, in the network %s %s", v.Name, t.DType, t.Shape, v.Type, v.Shape)
		}
		v.SetBytes(t.Data)
	}
	return nil
}
