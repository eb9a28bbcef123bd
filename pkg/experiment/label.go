package experiment

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"neoteny/pkg/engine/data"
)

// Label names a trial by what a sweep has set, for tables and legends: every
// parameter by the shortest end of its path that no other one has, in the order of
// their paths, as in "lr=0.1 l2.λ=1e-4". It is empty where nothing was set. Params are
// paths with JSON values, as in [Trial].
func Label(params map[string]string) string {
	paths := slices.Sorted(maps.Keys(params))
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = shortName(p, paths) + "=" + shortValue(params[p])
	}
	return strings.Join(out, " ")
}

// ShortNames are the names that [Label] gives parameters, by path.
func ShortNames(paths []string) map[string]string {
	out := make(map[string]string, len(paths))
	for _, p := range paths {
		out[p] = shortName(p, paths)
	}
	return out
}

// shortName is the shortest end of a path that ends no other one.
func shortName(p string, all []string) string {
	parts := pathParts(p)
	for n := 1; n <= len(parts); n++ {
		end := parts[len(parts)-n:]
		if _, index := strconv.Atoi(end[0]); index == nil && n < len(parts) {
			continue // an index says nothing without its list
		}
		others := slices.ContainsFunc(all, func(q string) bool {
			o := pathParts(q)
			return q != p && len(o) >= n && slices.Equal(o[len(o)-n:], end)
		})
		if !others {
			name := strings.Join(end, ".")
			if head, ok := strings.CutSuffix(name, "lambda"); ok && (head == "" || strings.HasSuffix(head, ".")) {
				return head + "λ"
			}
			return name
		}
	}
	return p
}

// pathParts are the fields of a path, and the kinds and indices of its lists' entries.
func pathParts(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// shortValue is a JSON value as people write it.
func shortValue(text string) string {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	switch v := v.(type) {
	case float64:
		return shortNumber(v)
	case string:
		if meta, err := data.ParseRef(v); data.IsRef(v) && err == nil {
			return meta.Label()
		}
		return v
	}
	return text
}

// shortNumber has an exponent where it is small or large, without the zeros that Go
// puts before it.
func shortNumber(v float64) string {
	if a := math.Abs(v); a == 0 || a >= 1e-3 && a < 1e6 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	digits, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
	n, _ := strconv.Atoi(exponent)
	return digits + "e" + strconv.Itoa(n)
}
