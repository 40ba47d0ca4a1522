package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// isTerminal tells whether w can be redrawn in place.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// The terminal's commands: another screen, so that the user's own comes back at the end.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	topLeft     = "\x1b[H"
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
)

// screen redraws all rollouts in place.
type screen struct {
	out     io.Writer
	entered bool
	rolls   map[string]*adminv1.Rollout
	rates   map[string]rates
	meters  map[string]*meter
	problem string
	at      time.Time
}

func newScreen(out io.Writer) *screen {
	return &screen{out: out, rolls: map[string]*adminv1.Rollout{}, rates: map[string]rates{}, meters: map[string]*meter{}}
}

func (s *screen) show(r *adminv1.Rollout, now time.Time) error {
	if s.meters[r.Model] == nil {
		s.meters[r.Model] = &meter{}
	}
	s.rolls[r.Model], s.rates[r.Model] = r, s.meters[r.Model].add(r, now)
	s.at, s.problem = now, ""
	return s.draw()
}

func (s *screen) notice(text string) {
	s.problem = text
	_ = s.draw() // the next show tells of a broken output
}

// draw writes one frame at once, so that it does not flicker. Rows that the window has
// no room for scroll off at the top, the newest figures stay.
func (s *screen) draw() error {
	frame := topLeft
	if !s.entered {
		frame, s.entered = enterScreen+topLeft, true
	}
	for line := range strings.Lines(s.frame()) {
		frame += strings.TrimSuffix(line, "\n") + eraseLine + "\r\n"
	}
	_, err := io.WriteString(s.out, frame+eraseBelow)
	return err
}

func (s *screen) frame() string {
	var b strings.Builder
	for i, model := range slices.Sorted(maps.Keys(s.rolls)) {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(details(s.rolls[model], s.rates[model]))
	}
	b.WriteString("\n" + s.at.Local().Format("15:04:05"))
	b.WriteString("  " + cmp.Or(s.problem, "Ctrl-C ends"))
	return clean(b.String() + "\n")
}

func (s *screen) end() {
	if !s.entered {
		return
	}
	_, _ = io.WriteString(s.out, leaveScreen+s.frame())
}

// plainLines writes a line for each message, for logs and pipes.
type plainLines struct {
	out, notices io.Writer
	meters       map[string]*meter
}

func (p *plainLines) show(r *adminv1.Rollout, now time.Time) error {
	if p.meters[r.Model] == nil {
		p.meters[r.Model] = &meter{}
	}
	_, err := fmt.Fprintln(p.out, clean(now.Local().Format("15:04:05")+" "+line(r, p.meters[r.Model].add(r, now))))
	return err
}

func (p *plainLines) notice(text string) { fmt.Fprintln(p.notices, "understudy:", clean(text)) }
func (p *plainLines) end()               {}

// line is one rollout in one line.
func line(r *adminv1.Rollout, now rates) string {
	parts := []string{r.Model, standing(r)}
	if at := position(r); at != "-" {
		parts = append(parts, "step "+at)
	}
	arm := func(name string, requests, failures int64, per rate, q quantiles) {
		parts = append(parts, fmt.Sprintf("| %s %s at %s/s, %s failed, p50 %s p99 %s", name, count(requests), per,
			share(failures, requests), latency(q.GetP50().AsDuration()), latency(q.GetP99().AsDuration())))
	}
	champion, challenger, mirror := r.GetChampionFigures(), r.GetChallengerFigures(), r.GetMirrorFigures()
	arm("champion", champion.GetRequests(), champion.GetFailures(), now.champion, champion)
	if r.Challenger != nil {
		arm("challenger", challenger.GetRequests(), challenger.GetFailures(), now.challenger, challenger)
		arm("copies", mirror.GetSent(), mirror.GetFailures(), now.copies, mirror)
		parts = append(parts, "| "+share(mirror.GetDisagreed(), mirror.GetCompared())+" disagree")
	}
	if len(r.Gates) > 0 {
		parts = append(parts, "| gates "+gatesInShort(r))
	}
	if left := r.StepRemaining.AsDuration(); left > 0 {
		parts = append(parts, "| "+span(left)+" left")
	}
	if r.WaitingFor != "" {
		parts = append(parts, "| waits for "+oneLine(r.WaitingFor))
	}
	return strings.Join(parts, " ")
}

// jsonLines writes one JSON object a line.
type jsonLines struct{ out, notices io.Writer }

func (j *jsonLines) show(r *adminv1.Rollout, _ time.Time) error {
	b, err := toJSON(r, "")
	if err != nil {
		return err
	}
	_, err = j.out.Write(b)
	return err
}

func (j *jsonLines) notice(text string) { fmt.Fprintln(j.notices, "understudy:", clean(text)) }
func (j *jsonLines) end()               {}
