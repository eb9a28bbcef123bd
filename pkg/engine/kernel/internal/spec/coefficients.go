package spec

// The polynomials are minimax fits (relative error of the function, rounded to
// float32 coefficient by coefficient), highest power first, for Horner's scheme
// with a fused multiply-add per step.

// Shared constants. Adding Magic to a number below 2^22 rounds it to an integer,
// which is then in the low bits of the sum.
const (
	Magic  = 0x1.8p23
	Log2E  = 1.44269502
	Ln2Hi  = 0.693147182
	Ln2Lo  = -1.90465421e-09
	ExpMax = 89   // e^x is +Inf from here
	ExpMin = -104 // e^x is 0 from here
)

// Tiny is what Flush keeps: well above the subnormal numbers, so that a product
// of what is kept with a step size is not one of them either.
const Tiny = 0x1p-100

// ExpP is (eʳ−1−r)/r² for |r| ≤ ln 2/2, error 2^-28 of eʳ.
var ExpP = []float32{0.00138247723, 0.00836938247, 0.0416682363, 0.166665152, 0.49999994}

// Expm1P is the same with an error of 2^-31 of eʳ−1.
var Expm1P = []float32{0.000197669011, 0.00139332248, 0.00833354145, 0.0416664854, 0.166666657, 0.5}

// LogP is (ln(1+f)−f+f²/2)/f³ for 1+f in [√½, √2], error 2^-30 of ln(1+f).
var LogP = []float32{0.0673175007, -0.116606332, 0.118866652, -0.124082185, 0.142201856, -0.166678533, 0.200020745, -0.250000119, 0.333333135}

// SqrtHalf is where the mantissas of Log begin, and its bits.
const (
	SqrtHalf     = 0.707106769
	SqrtHalfBits = 0x3f3504f3
)

// TanhSmall is where Tanh goes over from TanhP to the exponential; beyond
// TanhMax it is 1.
const (
	TanhSmall = 0.625
	TanhMax   = 10
)

// TanhP is (tanh x/x−1)/x² in powers of x² below TanhSmall, error 2^-28.
var TanhP = []float32{-0.00570009183, 0.0206341185, -0.0537379384, 0.133314162, -0.333332807}

// π/2 in three parts, and the largest |x| that Sin and Cos reduce with them.
const (
	TwoOverPi = 0.636619747
	HalfPi1   = 1.57079637
	HalfPi2   = -4.37113883e-08
	HalfPi3   = -1.71512451e-15
	TrigMax   = 1 << 17
)

// SinP is (sin r/r−1)/r² and CosP is (cos r−1+r²/2)/r⁴, in powers of r², for
// |r| ≤ π/4; errors 2^-28 and 2^-33.
var (
	SinP = []float32{-0.000195080414, 0.00833210722, -0.166666538}
	CosP = []float32{2.44298735e-05, -0.00138872967, 0.0416666456}
)

// ErfSmall is where Erf goes over from ErfP to the exponential of ErfcLogP;
// beyond ErfMax it is 1.
const (
	ErfSmall = 0.92
	ErfMax   = 4
)

// ErfP is erf x/x−1 in powers of x² below ErfSmall, ErfcLogP is ln(1−erf x)
// above; errors 2^-30 and 2^-29 of erf x.
var (
	ErfP     = []float32{7.99065165e-05, -0.000804880576, 0.00519235665, -0.0268557239, 0.112836257, -0.376126289, 0.128379166}
	ErfcLogP = []float32{0.000195901797, -0.00304292585, 0.0222259592, -0.103929974, -0.637183726, -1.12767494, -0.000195804008}
)
