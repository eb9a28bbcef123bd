package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// clocks are the functions, by package, that make a result depend on when it is
// asked for, or act later.
var clocks = map[string][]string{
	"time":        {"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"},
	"timestamppb": {"Now"},
}

// TestDecisionsReadNoClock holds the schedule to what imports cannot say: it
// needs package time for points in time, and reads no clock; it starts no
// goroutine and waits for none.
func TestDecisionsReadNoClock(t *testing.T) {
	names, err := filepath.Glob("../../services/coordinator/schedule/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	positions := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(positions, name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.ChanType:
				t.Errorf("%s: decisions start no goroutine and wait for none", positions.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(clocks[x.Name], n.Sel.Name) {
					t.Errorf("%s: %s.%s: decisions get the time as an argument", positions.Position(n.Pos()), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}
