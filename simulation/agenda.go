package simulation

import "time"

// agenda is what is to happen, in order of time and, at one moment, of its coming: a heap,
// without container/heap's garbage.
type agenda struct {
	all   []entry
	count uint64
}

type entry struct {
	at    time.Duration
	order uint64
	do    func()
}

func (e entry) before(o entry) bool { return e.at < o.at || e.at == o.at && e.order < o.order }

// next returns when something is to happen; ok is false where nothing is.
func (a *agenda) next() (at time.Duration, ok bool) {
	if len(a.all) == 0 {
		return 0, false
	}
	return a.all[0].at, true
}

func (a *agenda) add(at time.Duration, do func()) {
	a.count++
	a.all = append(a.all, entry{at, a.count, do})
	i := len(a.all) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !a.all[i].before(a.all[parent]) {
			break
		}
		a.all[i], a.all[parent] = a.all[parent], a.all[i]
		i = parent
	}
}

// pop takes out what is next.
func (a *agenda) pop() func() {
	first, last := a.all[0], len(a.all)-1
	a.all[0], a.all[last] = a.all[last], entry{}
	a.all = a.all[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if a.all[child].before(a.all[least]) {
				least = child
			}
		}
		if least == i {
			return first.do
		}
		a.all[i], a.all[least] = a.all[least], a.all[i]
		i = least
	}
}
