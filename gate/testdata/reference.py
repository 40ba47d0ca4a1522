"""Computes reference.json: what the formulas of package gate give, worked out here from the
papers in 50 digits, or by scipy. It shares no code and no trick with the package.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python reference.py
"""

import json
import math
from pathlib import Path

import numpy as np
from mpmath import exp, findroot, gamma, inf, log, mp, mpf, quad
from scipy.spatial.distance import jensenshannon
from scipy.stats import binomtest, norm, wasserstein_distance

mp.dps = 50
WORSE = [mpf(r) for r in "1.1 1.25 1.5 2 3 5 8 20".split()]
BETTER = [mpf(r) for r in ".95 .9 .8 .65 .5 .3 .15".split()]
STRENGTHS = [mpf(g) for g in ".95 .7 .5 .35 .25 .18 .125 .09 .06 .04 .03 .02 .015".split()]
SHIFTS = [mpf(".9")] + [mpf(2) ** -k for k in range(1, 8)]


def mean(xs):
    xs = list(xs)
    return sum(xs) / len(xs)


def third_idle(e):
    """ln of wealth of which a third never bets."""
    return float(log((1 + 2 * e) / 3))


# A, B: whose bad requests are they? With w the challenger's share under the null.
def attribution(risk, w, margin, challenger, champion, both):
    null = w * (1 + margin) / (w * (1 + margin) + 1 - w)
    theta = null * risk / (null * risk + 1 - null)
    stake = theta / null - 1
    return (1 + stake) ** challenger * ((1 - theta) / (1 - null)) ** champion * (1 - stake * margin) ** both


def ratio(paired, w, margin, cell):
    w_, m = mpf(w), mpf(str(margin))
    if paired:
        events = mpf("0.5"), m, cell["challenger_only"], cell["champion_only"], cell.get("both", 0)
    else:
        events = w_, m, cell["challenger_bad"], cell["champion_bad"], 0
    fail = mean(attribution(r, *events) for r in WORSE)
    better = mean(attribution(r, *events) for r in BETTER)
    return dict(paired=paired, w=w, margin=margin, cell=cell, fail=third_idle(fail), **{"pass": float(log(better))})


# A2: X = y/w on the challenger, -y/(1-w) on the champion, one factor 1 + l(X - m) a request.
def difference(paired, w, margin, cell):
    m = mpf(str(margin))
    if paired:
        values, trials = (mpf(1), mpf(-1)), cell["pairs"]
        counts = cell["challenger_only"], cell["champion_only"]
    else:
        values, trials = (1 / mpf(w), -1 / (1 - mpf(w))), cell["champion"] + cell["challenger"]
        counts = cell["challenger_bad"], cell["champion_bad"]
    outcomes = [*zip(values, counts), (mpf(0), trials - sum(counts))]

    def wealth(sign, most):
        total = mpf(0)
        for g in STRENGTHS:
            product = mpf(1)
            for x, n in outcomes:
                product *= (1 + sign * g * most * (x - m)) ** n
            total += product
        return total / len(STRENGTHS)

    fail, better = wealth(1, 1 / (m - values[1])), wealth(-1, 1 / (values[0] - m))
    return dict(paired=paired, w=w, margin=margin, cell=cell, fail=third_idle(fail), **{"pass": float(log(better))})


# C: a uniform mixture over one side of the limit, and Robbins' interval.
def limit(bad, good, at, alpha=None):
    x, n = mpf(str(at)), bad + good
    peak = mpf(bad) / n
    height = (bad * log(peak) if bad else 0) + (good * log(1 - peak) if good else 0)
    null = bad * log(x) + good * log(1 - x) - height
    width = 1 / mp.sqrt(n + 2)

    def density(p):
        return exp(bad * log(p) + good * log(1 - p) - height) if 0 < p < 1 else mpf(bad == 0 and p == 0 or good == 0 and p == 1)

    def area(lo, hi):
        """In pieces that shrink towards the largest value there."""
        top = min(max(peak, lo), hi)
        cuts = {lo, top, hi} | {top + s * width * mpf(2) ** k for s in (-1, 1) for k in range(-14, 6)}
        return quad(density, sorted(c for c in cuts if lo <= c <= hi))

    out = dict(bad=bad, good=good, limit=at, above=float(log(area(x, mpf(1)) / (1 - x)) - null), below=float(log(area(mpf(0), x) / x) - null))
    if alpha:
        whole = log(area(mpf(0), mpf(1)))

        def excess(p):
            return whole + height - bad * log(p) - good * log(1 - p) - log(1 / mpf(str(alpha)))

        low = findroot(excess, (peak / 100, peak), solver="anderson") if bad else mpf(0)
        high = findroot(excess, (peak + mpf(10) ** -30, (99 * peak + 1) / 100 + width), solver="anderson")
        out |= dict(alpha=alpha, low=float(low), high=float(high))
    return out


# D: one factor exp(l xi + (ln(1-l)+l) xi^2) a difference.
def shift(values, at, bound):
    m, b = mpf(str(at)), mpf(str(bound))
    ds = [min(max(mpf(v), -b), b) for v in values]

    def wealth(ds, m):
        def product(l):
            e = mpf(1)
            for d in ds:
                xi = (d - m) / (b + m)
                e *= exp(l * xi + (log(1 - l) + l) * xi**2)
            return e

        return mean(product(l) for l in SHIFTS)

    negative = [-d for d in ds]
    fail = (wealth(ds, m) + wealth(negative, m)) / 2
    better = min(wealth(ds, -m), wealth(negative, -m))
    return dict(values=values, limit=at, range=bound, fail=third_idle(fail), **{"pass": float(log(better))})


# E: a Dirichlet mixture of concentration 100 around the weights.
def mismatch(champion, challenger, w):
    w_, a, b = mpf(w), 100 * mpf(w), 100 * (1 - mpf(w))
    beta = lambda p, q: mp.loggamma(p) + mp.loggamma(q) - mp.loggamma(p + q)
    e = beta(a + challenger, b + champion) - beta(a, b) - challenger * log(w_) - champion * log(1 - w_)
    return dict(champion=champion, challenger=challenger, w=w, e=float(e))


# F: distances of histograms, whose values are first put in bins 2 % wide.
def drift(rows):
    growth = math.log(1.01 / 0.99)
    binned = {}
    for value, champion, challenger in rows:
        size = 1.01 * math.exp(math.floor(math.log(abs(value)) / growth) * growth) if value else 0
        at = binned.setdefault(math.copysign(size, value), np.zeros(2))
        at += champion, challenger
    values = sorted(binned)
    c, k = np.array([binned[v] for v in values]).T
    n, m = c.sum(), k.sum()
    groups, below = {}, np.concatenate([[0], np.cumsum(c)[:-1]])
    last = math.floor(10 * below[np.nonzero(c)[0][-1]] / n)
    for i in range(len(values)):
        decile = math.floor(10 * below[i] / n)
        heavy = 10 * c[i] >= n
        beyond = decile == 10 and 10 * c[np.nonzero(c)[0][-1]] < n
        at = groups.setdefault((last if beyond else decile, i if heavy else None), np.zeros(2))
        at += c[i], k[i]
    p, q = np.array([g for g in groups.values() if g.any()]).T
    ps, qs = np.maximum(p, 0.5) / n, np.maximum(q, 0.5) / m
    deviation = math.sqrt(np.average((values - np.average(values, weights=c)) ** 2, weights=c))
    return dict(
        rows=rows,
        psi=float(np.sum((qs - ps) * np.log(qs / ps))),
        expected=float((len(p) - 1) * (1 / n + 1 / m)),
        jensen_shannon=float(jensenshannon(p / n, q / m, base=2) ** 2),
        wasserstein=float(wasserstein_distance(values, values, c, k) / deviation),
    )


def wilson(bad, n):
    i = binomtest(bad, n).proportion_ci(0.95, method="wilson")
    return dict(bad=bad, n=n, z=float(norm.ppf(0.975)), low=float(i.low), high=float(i.high))


# Wealth that returns a 600th of itself to the prior each second: E is the product of what
# the bets win, each weighed by its share.
def sharing(w, seconds):
    prior = [mpf(1) / 3] + [mpf(2) / 3 / len(WORSE)] * len(WORSE)
    shares, e = prior, mpf(1)
    for challenger, champion in seconds:
        wins = [attribution(r, mpf(w), mpf(0), challenger, champion, 0) for r in [mpf(1)] + WORSE]
        grown = [s * x for s, x in zip(shares, wins)]
        e *= sum(grown)
        shares = [(1 - mpf(1) / 600) * g / sum(grown) + p / 600 for g, p in zip(grown, prior)]
    return dict(w=w, seconds=seconds, log_e=float(log(e)))


def live(champion, champion_bad, challenger, challenger_bad):
    return dict(champion=champion, champion_bad=champion_bad, challenger=challenger, challenger_bad=challenger_bad)


def pairs(n, challenger_only, champion_only, both=0):
    return dict(pairs=n, challenger_only=challenger_only, champion_only=champion_only, both=both)


LIVE = [live(900, 9, 100, 5), live(20000, 150, 1000, 8), live(0, 0, 3, 3), live(50, 50, 0, 0), live(90000, 0, 10000, 0)]
PAIRS = [pairs(1000, 30, 8), pairs(4000, 3, 40), pairs(500, 0, 0, 100), pairs(2000, 60, 10, 300), pairs(9, 9, 0)]
SEVERAL = [[0.1, 990, 500], [0.2, 5, 250], [0.9, 5, 250]]
SPREAD = [[round(0.01 * i, 2), 10 + i, 110 - i] for i in range(1, 100)]
OUTSIDE = [[-2.0, 0, 70]] + [[0.5 * i, 20, 10] for i in range(1, 30)] + [[40.0, 0, 90], [50.0, 0, 10]]
TIES = [[0.0, 500, 450], [0.25, 30, 80], [0.5, 20, 10], [0.75, 300, 310], [1.0, 150, 150]]

if __name__ == "__main__":
    reference = dict(
        ratio=[ratio(False, w, m, c) for w in (0.0001, 0.05, 0.5, 0.9999) for m in (0, 0.1, 1) for c in LIVE]
        + [ratio(True, 0, m, c) for m in (0, 0.1, 1) for c in PAIRS],
        difference=[difference(False, w, m, c) for w in (0.0001, 0.05, 0.5, 0.9999) for m in (0.001, 0.02, 0.5) for c in LIVE]
        + [difference(True, 0, m, c) for m in (0.001, 0.02, 0.5) for c in PAIRS],
        limit=[limit(10, 990, 0.02, 0.05), limit(0, 1000, 0.02, 0.01), limit(30, 970, 0.02, 0.01), limit(3, 2, 0.5, 0.05)]
        + [limit(b, g, 0.02) for b, g in ((0, 1), (1, 0), (50, 49950), (5000, 45000), (200000, 9800000), (201000, 9799000), (10000, 9990000))],
        shift=[
            shift([i / 1024 for i in range(-20, 60)], 0.01, 1),
            shift([(-1) ** i * i / 256 for i in range(40)], 0.0625, 0.25),
            shift([0.0] * 300 + [-0.75] * 9, 0.01, 1),
            shift([8.0] * 12 + [-1.5, 2.25], 1, 4),
        ],
        mismatch=[mismatch(900, 100, 0.1), mismatch(4600, 400, 0.1), mismatch(0, 40, 0.5), mismatch(999_000, 1_000, 0.0001), mismatch(0, 0, 0.3)],
        drift=[drift(rows) for rows in (SEVERAL, SPREAD, OUTSIDE, TIES)],
        wilson=[wilson(b, n) for b, n in ((10, 1000), (0, 20), (20, 20), (1, 3), (123_456, 1_000_000))],
        sharing=[sharing(0.1, [[int(i % 7 == 0), 1 + i % 3] for i in range(200)]), sharing(0.05, [[0, 1]] * 150 + [[2, 1]] * 60)],
    )
    text = json.dumps(reference, separators=(",", ":")).replace("},{", "},\n{").replace("],\"", "],\n\"")
    Path(__file__).with_name("reference.json").write_text(text + "\n")
