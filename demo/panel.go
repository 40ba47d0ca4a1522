package demo

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// panel is one look at a rollout from all sides: the admin RPC's, the clients', and
// the topic's.
type panel struct {
	rollout *adminv1.Rollout
	users   clientFigures
	records int
}

// barWidth is that of the bar which shows the challenger's share.
const barWidth = 24

// lines renders the panel for a terminal.
func (p panel) lines() []string {
	r := p.rollout
	mirror, failures := r.GetMirrorFigures(), r.GetChallengerFigures().GetFailures()+r.GetMirrorFigures().GetFailures()
	return []string{
		"",
		fmt.Sprintf("  %-14s %s  %s", r.GetModel(), bar(weight(r)), modeName(r)),
		fmt.Sprintf("  users          %s requests · %s errors · p50 %s · p99 %s", count(p.users.Requests),
			count(p.users.Errors), milliseconds(p.users.P50), milliseconds(p.users.P99)),
		fmt.Sprintf("  challenger     %s users' requests (%s) · %s copies", count(r.GetChallengerFigures().GetRequests()),
			percent(p.users.ByChallenger, p.users.Answered), count(mirror.GetSent())),
		fmt.Sprintf("                 %s failures, %s hidden by the champion · breaker %s", count(failures), count(r.GetFallbacks()), breakerName(r)),
		"  gates          " + gates(r),
		"  still to come  " + cmp.Or(r.GetWaitingFor(), "–"),
		fmt.Sprintf("  Kafka          %s records · %s of the predictions disagree", count(p.records), percent(mirror.GetDisagreed(), mirror.GetCompared())),
	}
}

// short renders the panel as one line.
func (p panel) short() string {
	r := p.rollout
	return fmt.Sprintf("    %s, %s: %s requests, %s errors, p99 %s; challenger %s live, %s copies, %s failures; %s of pairs disagree; %s records; gates: %s",
		r.GetModel(), modeName(r), count(p.users.Requests), count(p.users.Errors), milliseconds(p.users.P99),
		count(r.GetChallengerFigures().GetRequests()), count(r.GetMirrorFigures().GetSent()),
		count(r.GetChallengerFigures().GetFailures()+r.GetMirrorFigures().GetFailures()),
		percent(r.GetMirrorFigures().GetDisagreed(), r.GetMirrorFigures().GetCompared()), count(p.records), gates(r))
}

// weight is the challenger's part of the live traffic in percent.
func weight(r *adminv1.Rollout) float64 {
	switch r.GetMode() {
	case canary:
		return r.GetWeightPercent()
	case promoted:
		return 100
	}
	return 0
}

func bar(share float64) string {
	full := int(math.Round(share / 100 * barWidth))
	return strings.Repeat("█", full) + strings.Repeat("░", barWidth-full)
}

// modeName is the mode in DESIGN's words, with the weight where it has one.
func modeName(r *adminv1.Rollout) string {
	name := strings.ToLower(strings.TrimPrefix(r.GetMode().String(), "MODE_"))
	if r.GetMode() == canary {
		name += " " + points(r.GetWeightPercent())
	}
	return name
}

func waiting(r *adminv1.Rollout) string {
	if r.GetWaitingFor() == "" {
		return ""
	}
	return " · waiting for " + r.GetWaitingFor()
}

// gates is where the gates stand at this step, for all requests and for cohorts that fail.
func gates(r *adminv1.Rollout) string {
	var all []string
	for _, g := range r.GetGates() {
		if g.GetApplies() && (g.GetSegment() == "" || g.GetVerdict() == adminv1.Verdict_VERDICT_FAIL) {
			name := verdict{Name: g.GetGate(), Segment: g.GetSegment()}
			all = append(all, name.String()+" "+strings.ToLower(strings.TrimPrefix(g.GetVerdict().String(), "VERDICT_")))
		}
	}
	if len(all) == 0 {
		return "–"
	}
	return strings.Join(all, " · ")
}

func breakerName(r *adminv1.Rollout) string {
	if r.GetBreaker() == "" {
		return "none"
	}
	return strings.ReplaceAll(r.GetBreaker(), "_", "-")
}

// count writes a number with commas between thousands.
func count[N int | int64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// points writes a weight.
func points(percent float64) string { return strconv.FormatFloat(percent, 'f', -1, 64) + "%" }

func percent[N int | int64](part, whole N) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

func milliseconds(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
