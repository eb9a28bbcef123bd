package memory

import "slices"

// Quantized remembers vectors of classes in 8 bits, each class's from its least to its
// largest value.
type Quantized struct {
	Size      int       // of a vector
	Held      []int32   // [classes] how many vectors
	Low, High []float32 // [classes] what 0 and 255 stand for
	Values    []uint8   // [classes][most][Size]
}

// most is how many vectors there is room for, of each class.
func (q *Quantized) most() int { return len(q.Values) / (len(q.Held) * q.Size) }

// Store keeps the first n vectors of h in the place of the class's.
func (q *Quantized) Store(class, n int, h []float32) {
	h = h[:n*q.Size]
	lo, hi := slices.Min(h), slices.Max(h)
	q.Low[class], q.High[class], q.Held[class] = lo, hi, int32(n)
	to := q.Values[class*q.most()*q.Size:]
	for k, v := range h {
		to[k] = 0
		if hi > lo {
			to[k] = uint8(float32((v-lo)/(hi-lo)*255) + 0.5)
		}
	}
}

// Recall fills dst with vector i of a class.
func (q *Quantized) Recall(dst []float32, class, i int) {
	lo, hi := q.Low[class], q.High[class]
	from := q.Values[(class*q.most()+i)*q.Size:]
	for k := range dst {
		dst[k] = float32(float32(from[k])/255*(hi-lo)) + lo
	}
}
