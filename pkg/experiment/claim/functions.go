package claim

import (
	"fmt"
	"math"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// environment declares what an expression can use.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	column := cel.ListType(cel.DoubleType)
	opts := []cel.EnvOption{
		cel.Variable("arms", cel.MapType(cel.StringType, cel.MapType(cel.StringType, column))),
		cel.Variable("trial", cel.MapType(cel.StringType, column)),
		cel.Variable("analyses", cel.MapType(cel.StringType, cel.MapType(cel.StringType, cel.DoubleType))),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxLen),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNodeLimit(maxNodes),
	}
	for name, f := range map[string]func([]float64) float64{
		"mean": mean, "min": lowest, "max": highest, "peak": highest, "final": final,
	} {
		overloads := []cel.FunctionOpt{cel.MemberOverload("column_"+name, []*cel.Type{column}, cel.DoubleType, cel.UnaryBinding(reduce(f)))}
		if name == "min" || name == "max" {
			pick := map[string]func(a, b float64) float64{"min": math.Min, "max": math.Max}[name]
			overloads = append(overloads, cel.Overload("number_"+name, []*cel.Type{cel.DoubleType, cel.DoubleType}, cel.DoubleType,
				cel.BinaryBinding(func(a, b ref.Val) ref.Val {
					return types.Double(pick(float64(a.(types.Double)), float64(b.(types.Double))))
				})))
		}
		opts = append(opts, cel.Function(name, overloads...))
	}
	for name, f := range map[string]func(float64) float64{
		"abs": math.Abs, "sqrt": math.Sqrt, "exp": math.Exp, "log": math.Log,
	} {
		opts = append(opts, cel.Function(name, cel.Overload("number_"+name, []*cel.Type{cel.DoubleType}, cel.DoubleType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.Double(f(float64(v.(types.Double)))) }))))
	}
	for name, f := range map[string]func(v []float64, n int64) ([]float64, error){"first": first, "last": last} {
		opts = append(opts, cel.Function(name, cel.MemberOverload("column_"+name, []*cel.Type{column, cel.IntType}, column,
			cel.BinaryBinding(func(l, n ref.Val) ref.Val {
				return part(l, func(v []float64) ([]float64, error) { return f(v, int64(n.(types.Int))) })
			}))))
	}
	opts = append(opts, cel.Function("slice", cel.MemberOverload("column_slice", []*cel.Type{column, cel.IntType, cel.IntType}, column,
		cel.FunctionBinding(func(args ...ref.Val) ref.Val {
			a, b := int64(args[1].(types.Int)), int64(args[2].(types.Int))
			return part(args[0], func(v []float64) ([]float64, error) { return slice(v, a, b) })
		}))))
	return cel.NewEnv(opts...)
})

func reduce(f func([]float64) float64) func(ref.Val) ref.Val {
	return func(l ref.Val) ref.Val {
		v, err := numbers(l)
		if err != nil {
			return types.WrapErr(err)
		}
		return types.Double(f(v))
	}
}

func part(l ref.Val, f func([]float64) ([]float64, error)) ref.Val {
	v, err := numbers(l)
	if err == nil {
		v, err = f(v)
	}
	if err != nil {
		return types.WrapErr(err)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// numbers returns the elements of a list; a column comes back without a copy.
func numbers(l ref.Val) ([]float64, error) {
	if v, ok := l.Value().([]float64); ok {
		return v, nil
	}
	var out []float64
	for it := l.(traits.Lister).Iterator(); it.HasNext() == types.True; {
		switch v := it.Next().(type) {
		case types.Double:
			out = append(out, float64(v))
		default:
			return nil, fmt.Errorf("a list of numbers holds %s", v.Type().TypeName())
		}
	}
	return out, nil
}

func first(v []float64, n int64) ([]float64, error) {
	if n < 1 || n > int64(len(v)) {
		return nil, fmt.Errorf("first(%d) of %d tasks", n, len(v))
	}
	return v[:n], nil
}

func last(v []float64, n int64) ([]float64, error) {
	if n < 1 || n > int64(len(v)) {
		return nil, fmt.Errorf("last(%d) of %d tasks", n, len(v))
	}
	return v[int64(len(v))-n:], nil
}

func slice(v []float64, a, b int64) ([]float64, error) {
	if a < 0 || a >= b || b > int64(len(v)) {
		return nil, fmt.Errorf("slice(%d, %d) of %d tasks: it holds the tasks from the first number on, before the second", a, b, len(v))
	}
	return v[a:b], nil
}

func mean(v []float64) float64 {
	sum, n := 0.0, 0
	for _, x := range v {
		if !math.IsNaN(x) {
			sum += x
			n++
		}
	}
	return sum / float64(n) // NaN when nothing was measured
}

func lowest(v []float64) float64 {
	out := math.NaN()
	for _, x := range v {
		if !(x >= out) && !math.IsNaN(x) {
			out = x
		}
	}
	return out
}

func highest(v []float64) float64 {
	out := math.NaN()
	for _, x := range v {
		if !(x <= out) && !math.IsNaN(x) {
			out = x
		}
	}
	return out
}

func final(v []float64) float64 {
	for i := len(v) - 1; i >= 0; i-- {
		if !math.IsNaN(v[i]) {
			return v[i]
		}
	}
	return math.NaN()
}

// listCost charges our functions for the elements that they read.
type listCost struct{}

// CallCost returns the number of elements in the arguments; nil leaves calls
// without lists to CEL.
func (listCost) CallCost(_, _ string, args []ref.Val, _ ref.Val) *uint64 {
	cost := uint64(0)
	for _, a := range args {
		if l, ok := a.(traits.Lister); ok {
			if n, ok := l.Size().(types.Int); ok {
				cost += uint64(n) + 1
			}
		}
	}
	if cost == 0 {
		return nil
	}
	return &cost
}
