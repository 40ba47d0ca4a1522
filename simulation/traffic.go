package simulation

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// Traffic is what comes to the gateway and how the two arms would take it.
type Traffic struct {
	// RPS is requests a second, at random moments.
	RPS float64
	// Users is how many routing keys there are; 0: no request has one.
	Users int
	// Heavy, over 1, is the exponent of Zipf's law by which some users send more than
	// others; 0: all send alike.
	Heavy float64
	// Champion and Challenger are the arms. Until From, the challenger is just like the champion.
	Champion, Challenger Arm
	From                 time.Duration
	// Disagreement is the share of pairs of predictions that differ, Shift the mean of
	// challenger − champion of each score, around which it varies by Spread.
	Disagreement, Shift, Spread float64
	// Segments are cohorts, the values of the first segment source. The rest has none.
	Segments []Segment
	// BadUsers, where over 0, is the share of the users to whom all errors happen, on either arm.
	BadUsers float64
	// Drift lets the rates of errors swing.
	Drift Drift
	// Overload comes in bursts and hits both arms alike.
	Overload Overload
	// Diverted is the share of the challenger's live requests that its cap turns away.
	Diverted float64
	// Lost is the share of the challenger's live requests of which nothing is heard again.
	Lost float64
}

// Arm is how one version of the model behaves.
type Arm struct {
	// Errors is the share of requests that it fails, over 0 to 1.
	Errors float64
	// FailsAfter is how long it takes to fail; 0: as long as an answer takes.
	FailsAfter time.Duration
	// Median and P99 are of the time that an answer takes, which is lognormal.
	Median, P99 time.Duration
	// Slow is the share of answers that take SlowFor longer.
	Slow    float64
	SlowFor time.Duration
}

// Segment is a cohort in which the challenger may behave in its own way.
type Segment struct {
	Name  string
	Share float64
	// Challenger, where not nil, is the challenger's behaviour here, from Traffic.From on.
	Challenger *Arm
	// Disagreement is in place of the traffic's, where over 0.
	Disagreement float64
}

// Drift is a sine: a rate r becomes r·(1 + Swing·sin(2πt/Period)).
type Drift struct {
	Swing  float64
	Period time.Duration
}

// Overload begins at random, on average Every, and lasts For. Meanwhile a Share of the
// champion's requests fail, and as many of the challenger's are turned away by its cap.
type Overload struct {
	Every, For time.Duration
	Share      float64
}

// Request is one request with what either arm would say to it.
type Request struct {
	At time.Duration
	// User is −1 where the request has no key of its own.
	User                 int
	Key                  string
	Segment              string
	Champion, Challenger Reply
	// Diverted and Lost are of the challenger's live call.
	Diverted, Lost bool
	// Disagrees says that the predictions differ; Scores are their values.
	Disagrees bool
	Scores    [2]float64
}

// Reply is what an arm says, and after what time.
type Reply struct {
	Failed bool
	Takes  time.Duration
}

// Source draws the requests. What it draws does not hang on what is made of them, so that
// judges can be compared on the same traffic.
type Source struct {
	t        Traffic
	seed     uint64
	random   *rand.Rand
	zipf     *rand.Zipf
	now      time.Duration
	sequence int64
	// The overload under way or to come.
	overload, relief time.Duration
}

// NewSource returns the traffic of one seed.
func NewSource(t Traffic, seed uint64) *Source {
	s := &Source{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0x7261666669637473))}
	if t.Heavy > 1 && t.Users > 1 {
		s.zipf = rand.NewZipf(s.random, t.Heavy, 1, uint64(t.Users-1))
	}
	s.nextOverload()
	return s
}

// Next returns the next request.
func (s *Source) Next() Request {
	s.now += time.Duration(s.random.ExpFloat64() / s.t.RPS * float64(time.Second))
	for s.now >= s.relief {
		s.nextOverload()
	}
	s.sequence++
	q := Request{At: s.now}
	s.who(&q)
	segment := s.segment(&q)
	challenger, disagreement := s.t.Challenger, s.t.Disagreement
	if segment != nil {
		q.Segment = segment.Name
		if segment.Challenger != nil {
			challenger = *segment.Challenger
		}
		if segment.Disagreement > 0 {
			disagreement = segment.Disagreement
		}
	}
	if s.now < s.t.From {
		challenger = s.t.Champion
	}
	q.Champion, q.Challenger = s.reply(&s.t.Champion, q.User), s.reply(&challenger, q.User)
	s.mishaps(&q)
	s.predict(&q, disagreement)
	return q
}

func (s *Source) who(q *Request) {
	switch {
	case s.t.Users == 0:
		q.User, q.Key = -1, "r"+strconv.FormatInt(s.sequence, 10)
		return
	case s.zipf != nil:
		q.User = int(s.zipf.Uint64())
	default:
		q.User = s.random.IntN(s.t.Users)
	}
	q.Key = "u" + strconv.Itoa(q.User)
}

// segment is that of the user, always the same, or a random one.
func (s *Source) segment(q *Request) *Segment {
	if len(s.t.Segments) == 0 {
		return nil
	}
	at := s.random.Float64()
	if q.User >= 0 {
		at = s.fate(q.User, 1)
	}
	for i := range s.t.Segments {
		if at -= s.t.Segments[i].Share; at < 0 {
			return &s.t.Segments[i]
		}
	}
	return nil
}

// fate is a number of the user from 0 to 1 that stays.
func (s *Source) fate(user int, of uint64) float64 {
	x := (uint64(user)*4 + of + 1) * 0x9e3779b97f4a7c15 // splitmix64
	x ^= s.seed * 0xd1342543de82ef95
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float64((x^x>>31)>>11) / (1 << 53)
}

func (s *Source) reply(a *Arm, user int) (r Reply) {
	r.Failed = s.random.Float64() < s.rate(a.Errors, user)
	r.Takes = a.takes(s.random)
	if r.Failed && a.FailsAfter > 0 {
		r.Takes = a.FailsAfter
	}
	return r
}

// rate is the chance of an error for the user now.
func (s *Source) rate(base float64, user int) float64 {
	if d := s.t.Drift; d.Period > 0 {
		base *= 1 + d.Swing*math.Sin(2*math.Pi*s.now.Seconds()/d.Period.Seconds())
	}
	switch {
	case s.t.BadUsers <= 0 || user < 0:
		return base
	case s.fate(user, 2) < s.t.BadUsers:
		return base / s.t.BadUsers
	}
	return 0
}

// z99 is the 99th percentile of the standard normal distribution.
const z99 = 2.3263478740408408

func (a *Arm) takes(r *rand.Rand) time.Duration {
	t := float64(a.Median)
	if a.P99 > a.Median {
		t *= math.Exp(math.Log(float64(a.P99)/float64(a.Median)) / z99 * r.NormFloat64())
	}
	if a.Slow > 0 && r.Float64() < a.Slow {
		t += float64(a.SlowFor)
	}
	return time.Duration(t)
}

// mishaps are what keeps a request from its arm, or its result from the gateway.
func (s *Source) mishaps(q *Request) {
	if s.now >= s.overload && s.random.Float64() < s.t.Overload.Share {
		q.Champion.Failed, q.Diverted = true, true
	}
	q.Diverted = q.Diverted || s.t.Diverted > 0 && s.random.Float64() < s.t.Diverted
	q.Lost = s.t.Lost > 0 && s.random.Float64() < s.t.Lost
}

func (s *Source) nextOverload() {
	if s.t.Overload.Share == 0 {
		s.overload, s.relief = math.MaxInt64, math.MaxInt64
		return
	}
	s.overload = s.relief + time.Duration(s.random.ExpFloat64()*float64(s.t.Overload.Every))
	s.relief = s.overload + s.t.Overload.For
}

// predict draws the predictions: like the arms', they are the champion's until From.
func (s *Source) predict(q *Request, disagreement float64) {
	score := s.random.Float64()
	q.Scores = [2]float64{score, score + s.t.Spread*s.random.NormFloat64()}
	if s.now < s.t.From {
		return
	}
	q.Scores[1] += s.t.Shift
	q.Disagrees = s.random.Float64() < disagreement
}
