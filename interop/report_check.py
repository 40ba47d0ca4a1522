"""Compute from a topic what `understudy report` computes, exactly and in another language: one JSON object.

Agreement: scores within --atol of each other, classes equal. Latencies are in seconds, of all calls.
"""

import argparse
import json
import sys
from collections import Counter

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("kit", help="folder of the consumer kit, with its stubs")
parser.add_argument("brokers")
parser.add_argument("topic")
parser.add_argument("--score", required=True)
parser.add_argument("--label", required=True)
parser.add_argument("--atol", type=float, required=True)
args = parser.parse_args()
sys.path.insert(0, args.kit)

from load import decode, messages, outputs, scalar  # noqa: E402

seen, counts, confusion, differences = set(), Counter(), Counter(), []
latency = {"champion": [], "challenger": []}
for m in messages(args.brokers, args.topic):
    counts["messages"] += 1
    p = decode(m)
    if p is None:
        counts["undecodable"] += 1
        continue
    if p.id in seen:
        counts["duplicates"] += 1
        continue
    seen.add(p.id)
    for name, arm in (("champion", p.champion), ("challenger", p.challenger)):
        if arm.HasField("latency") and arm.latency.ToNanoseconds() > 0:
            latency[name].append(arm.latency.ToNanoseconds() / 1e9)
    if p.champion.absent or p.challenger.absent:
        counts["not compared"] += 1
    elif not p.champion.HasField("response"):
        counts["recorded"] += 1
        counts["disagree"] += not p.comparison.agree
    else:
        a, b = outputs(p.champion.response), outputs(p.challenger.response)
        x, y = float(a[args.score].reshape(-1)[0]), float(b[args.score].reshape(-1)[0])
        one, other = scalar(a[args.label]), scalar(b[args.label])
        differences.append(y - x)
        confusion[f"{one} {other}"] += 1
        counts["recomputed"] += 1
        counts["disagree"] += abs(y - x) > args.atol or one != other

json.dump({
    "records": len(seen), **counts, "confusion": confusion, "mean": float(np.mean(differences)),
    "latency": {name: dict(zip(("p50", "p90", "p95", "p99"), np.quantile(values, [0.5, 0.9, 0.95, 0.99], method="lower").tolist()))
                for name, values in latency.items()},
}, sys.stdout)
