// Package render turns results into what people read: aligned text tables and
// numbers with their intervals. It knows nothing of experiments; it gets strings
// and numbers and writes them.
package render

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Align says to which side the cells of a column go.
type Align uint8

// The two sides.
const (
	Left Align = iota
	Right
)

// Column is a column of a [Table].
type Column struct {
	Title string
	Align Align
}

// Table is a text table. Rows may be shorter than the list of columns.
type Table struct {
	Columns []Column
	Rows    [][]string
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Write writes the table with two spaces between columns, a line of titles
// first, no spaces at the ends of lines. A table without rows still shows its
// titles.
func (t *Table) Write(w io.Writer) error {
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = utf8.RuneCountInString(c.Title)
	}
	for _, row := range t.Rows {
		for i, cell := range row[:min(len(row), len(widths))] {
			widths[i] = max(widths[i], utf8.RuneCountInString(oneLine(cell)))
		}
	}
	bw := bufio.NewWriter(w)
	line := func(cells []string) {
		var b strings.Builder
		for i, c := range t.Columns {
			cell := ""
			if i < len(cells) {
				cell = oneLine(cells[i])
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				b.WriteString("  ")
			}
			if c.Align == Right {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(bw, strings.TrimRight(b.String(), " "))
	}
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		titles[i] = c.Title
	}
	line(titles)
	for _, row := range t.Rows {
		line(row)
	}
	return bw.Flush()
}

// oneLine keeps a cell from breaking the table or the terminal: what came from
// a server may hold any byte.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0):
			return -1
		}
		return r
	}, s)
}
