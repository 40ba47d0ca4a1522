package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// fallbackWidth is that of a terminal that does not say.
const fallbackWidth = 80

// Screen tells the story: lines that stay, and below them, on a terminal, figures that
// are redrawn in place. Its zero value tells nobody.
type Screen struct {
	out io.Writer
	// redraw is true on a terminal; elsewhere figures are printed now and then.
	redraw bool
	width  func() int

	mu      sync.Mutex
	figures []string // as drawn below the last line
	printed time.Time
}

// NewScreen tells the story on w. It redraws and styles only where w is a terminal,
// NO_COLOR is unset and TERM is not dumb.
func NewScreen(w io.Writer) *Screen {
	s := &Screen{out: w, width: func() int { return fallbackWidth }}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.redraw = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	s.width = func() int {
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil || width < 1 {
			return fallbackWidth
		}
		return width
	}
	return s
}

// Say prints lines that stay.
func (s *Screen) Say(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	below := s.figures
	s.draw(lines, below)
}

// Show replaces the figures below the story: lines where they can be redrawn, else the
// one line short, at most once in every.
func (s *Screen) Show(lines []string, short string, every time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.redraw {
		s.draw(nil, lines)
		return
	}
	switch now := time.Now(); {
	case s.printed.IsZero():
		s.printed = now // nothing has happened yet
	case now.Sub(s.printed) >= every:
		s.printed = now
		s.draw([]string{short}, nil)
	}
}

// Leave keeps the figures where they are; what follows is printed below them.
func (s *Screen) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.figures = nil
}

// draw writes once, so that a terminal shows no half-drawn picture: it wipes the
// figures, prints what stays, and puts the new figures below.
func (s *Screen) draw(stay, figures []string) {
	if s.out == nil {
		return
	}
	var b strings.Builder
	if n := len(s.figures); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dF\x1b[J", n)
	}
	for _, line := range stay {
		b.WriteString(line + "\n")
	}
	s.figures = figures
	for _, line := range figures {
		b.WriteString(clip(line, s.width()-1) + "\n")
	}
	_, _ = io.WriteString(s.out, b.String()) // a closed terminal must not end the demo
}

// Bold is bold where styles are shown.
func (s *Screen) Bold(text string) string { return s.style("1", text) }

// Good is green where styles are shown.
func (s *Screen) Good(text string) string { return s.style("32", text) }

// Bad is red where styles are shown.
func (s *Screen) Bad(text string) string { return s.style("31", text) }

func (s *Screen) style(code, text string) string {
	if !s.redraw {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// clip cuts a line to a width in characters: a wrapped line could not be wiped.
func clip(line string, width int) string {
	if width < 1 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}
