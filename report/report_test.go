package report

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/report/reporttest"
	"github.com/understudy-serving/understudy/rollout"
)

func TestGoldens(t *testing.T) {
	r := reportOf(t, Options{Models: rules()}, delimited(t, reporttest.Traffic(4000)))
	var table, brief, page bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteBrief(&brief); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteHTML(&page, reporttest.Noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", table.Bytes())
	golden(t, "brief.txt", brief.Bytes())
	golden(t, "report.html", page.Bytes())
	golden(t, "report.json", append(text, '\n'))
	for _, foreign := range []string{"<script", "http://", "https://", "url(", "@import"} {
		if strings.Contains(page.String(), foreign) {
			t.Errorf("the page has %q: it must need nothing else", foreign)
		}
	}
}

// The figures, counted again in the simplest way.
func TestFigures(t *testing.T) {
	all := reporttest.Traffic(5000)
	var compared, differ int64
	var sum float64
	confusion := map[string]int64{}
	for _, p := range all {
		a, b := p.Champion.Response, p.Challenger.Response
		if a == nil || b == nil {
			continue
		}
		x, y := score(a.RawOutputContents[0]), score(b.RawOutputContents[0])
		labels := string(a.RawOutputContents[1][4:]) + " " + string(b.RawOutputContents[1][4:])
		one, other, _ := strings.Cut(labels, " ")
		compared++
		if math.Abs(y-x) > 0.05 || one != other {
			differ++
		}
		sum += y - x
		confusion[labels]++
	}
	r := reportOf(t, Options{Models: rules()}, delimited(t, all)).Rollouts[0]
	if a := r.Agree; a.Compared != compared || a.Disagree != differ || a.Agree+a.Disagree != compared || a.Recomputed != compared {
		t.Errorf("%+v; want %d of %d", a, differ, compared)
	}
	label, scores := r.Outputs[0], r.Outputs[1]
	if got := scores.Differences.Mean; math.Abs(got-sum/float64(compared)) > 1e-12 {
		t.Errorf("mean difference %v, want %v", got, sum/float64(compared))
	}
	for i, champion := range label.Confusion.Labels {
		for j, challenger := range label.Confusion.Labels {
			if got, want := label.Confusion.Counts[i][j], confusion[champion+" "+challenger]; got != want {
				t.Errorf("%s, %s: %d times, want %d", champion, challenger, got, want)
			}
		}
	}
	if got, want := r.Segments[0].Name, "region=apac"; got != want {
		t.Errorf("the worst segment is %s, want %s", got, want)
	}
}

func score(raw []byte) float64 {
	return float64(math.Float32frombits(uint32(raw[0]) | uint32(raw[1])<<8 | uint32(raw[2])<<16 | uint32(raw[3])<<24))
}

// Three ways of writing a file say the same.
func TestFileForms(t *testing.T) {
	all := reporttest.Traffic(300)
	var framed, lines bytes.Buffer
	for _, p := range all {
		w := reporttest.Wire(t, p)
		framed.Write([]byte{0, 0, byte(len(w) >> 8), byte(len(w))})
		framed.Write(w)
		text, err := protojson.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		lines.WriteString("\n" + string(text))
	}
	want := reportOf(t, Options{Models: rules()}, delimited(t, all))
	for name, file := range map[string][]byte{"framed": framed.Bytes(), "lines": lines.Bytes()[1:]} {
		got := reportOf(t, Options{Models: rules()}, file)
		if !reflect.DeepEqual(got.Rollouts, want.Rollouts) {
			t.Errorf("%s: %+v", name, got.Summary)
		}
	}
}

func TestDamagedFile(t *testing.T) {
	whole := delimited(t, reporttest.Traffic(3))
	for name, file := range map[string][]byte{"cut short": whole[:len(whole)-5], "cut in a length": append(slices.Clone(whole), 0x80), "absurd length": append(slices.Clone(whole), 0xff, 0xff, 0xff, 0xff, 0x7f)} {
		r := Run{Source: NewFile(bytes.NewReader(file), int64(len(file)))}
		if err := r.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged file") {
			t.Errorf("%s: %v", name, err)
		}
		if got := r.Summarize("").Messages.Records; got < 2 {
			t.Errorf("%s: %d records", name, got)
		}
	}
}

// What is taken where payloads are cut, redacted, not sampled, or just not there.
func TestPayloadsThatAreNotThere(t *testing.T) {
	recorded := &recordv1.Comparison{Outputs: []*recordv1.OutputComparison{
		{Output: "probability", Kind: "score", Finding: "values", Elements: 1, Differing: 1, MaxAbsDiff: 0.4, MeanAbsDiff: 0.4},
		{Output: "label", Kind: "class", Agree: true, ChampionClass: "bad", ChallengerClass: "bad"}}}
	without := func(p *recordv1.Prediction) { p.Champion.Response, p.Challenger.Response = nil, nil }
	for _, c := range []struct {
		name   string
		change func(p *recordv1.Prediction)
		// recorded says that the record's own comparison counts; reason why none does.
		recorded bool
		reason   string
	}{
		{"whole", func(p *recordv1.Prediction) {}, false, ""},
		{"cut", func(p *recordv1.Prediction) { without(p); p.Cut, p.Comparison = &recordv1.Cut{}, recorded }, true, ""},
		{"redacted", func(p *recordv1.Prediction) {
			p.Redaction = &recordv1.Redaction{ChampionResponse: []*recordv1.RedactedTensor{{Name: "probability"}}}
			p.Champion.Response.RawOutputContents[0], p.Comparison = nil, recorded
		}, true, ""},
		{"inputs redacted", func(p *recordv1.Prediction) {
			p.Redaction = &recordv1.Redaction{Request: []*recordv1.RedactedTensor{{Name: "features"}}}
		}, false, ""},
		{"unsampled", func(p *recordv1.Prediction) { without(p); p.Redaction = &recordv1.Redaction{Unsampled: true} }, false, unsampledUncompared},
		{"cut, no comparison", func(p *recordv1.Prediction) { without(p); p.Cut = &recordv1.Cut{} }, false, cutUncompared},
		{"nothing", without, false, notRecorded},
		{"shed", func(p *recordv1.Prediction) { reporttest.Lose(p, p.Challenger, 0, rollout.Shed) }, false, "challenger shed"},
	} {
		p := reporttest.Prediction(0, 0.7, 0.7)
		c.change(p)
		a := reportOf(t, Options{Models: rules()}, delimited(t, []*recordv1.Prediction{p})).Rollouts[0].Agree
		switch {
		case c.reason != "":
			if a.Compared != 0 || len(a.NotCompared) != 1 || a.NotCompared[0].Name != c.reason {
				t.Errorf("%s: %+v", c.name, a)
			}
		case c.recorded && (a.Recorded != 1 || a.Disagree != 1), !c.recorded && (a.Recomputed != 1 || a.Agree != 1):
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}

// Without rules the kinds are the record's, so that an output that was ignored is.
func TestRulesOfTheRecord(t *testing.T) {
	p := reporttest.Prediction(0, 0.7, 0.9)
	p.Comparison = &recordv1.Comparison{Agree: true, Outputs: []*recordv1.OutputComparison{{Output: "label", Kind: "class", Agree: true}}}
	r := reportOf(t, Options{}, delimited(t, []*recordv1.Prediction{p})).Rollouts[0]
	if len(r.Outputs) != 1 || r.Outputs[0].Confusion == nil || r.Agree.Disagree != 0 || r.Rules != "defaults" {
		t.Errorf("%+v %+v", r.Agree, r.Outputs)
	}
	p.Comparison = nil
	r = reportOf(t, Options{}, delimited(t, []*recordv1.Prediction{p})).Rollouts[0]
	if len(r.Outputs) != 2 || r.Agree.Disagree != 1 {
		t.Errorf("%+v %+v", r.Agree, r.Outputs)
	}
}

func TestOptions(t *testing.T) {
	all := reporttest.Traffic(100) // ten a second
	all[7].Model = "spam"
	file := delimited(t, append(all, all[3], all[7]))
	o := Options{Model: "risk", Since: reporttest.Noon.Add(time.Second), Until: reporttest.Noon.Add(5 * time.Second)}
	m := reportOf(t, o, file).Messages
	if m.Read != 102 || m.Records != 40 || m.OtherModel != 2 || m.OtherTime != 60 {
		t.Errorf("%+v", m)
	}
	if m := reportOf(t, Options{}, file).Messages; m.Records != 100 || m.Duplicates != 2 {
		t.Errorf("%+v", m)
	}
}
