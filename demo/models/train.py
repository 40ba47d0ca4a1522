"""Trains the demo's two models and writes what the Go code embeds.

Run once, by hand; nothing in the build needs Python:

    python3 -m venv /tmp/train && /tmp/train/bin/pip install -r requirements.txt
    /tmp/train/bin/python train.py

It writes, beside itself:

    logistic.json  the logistic regression, its scaling folded into the coefficients
    trees.json     the gradient-boosted trees, as XGBoost saves them
    heldout.csv    the rows that neither model has seen, with the true label and the
                   probability that each original model gives

Both models predict the probability that a tumour is malignant.
"""

import csv
import json
import pathlib

import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent
SEED = 42


def split():
    """The table in two parts, as float32: that is what travels in an FP32 tensor."""
    table = load_breast_cancer()
    rows = table.data.astype(np.float32)
    malignant = (table.target == list(table.target_names).index("malignant")).astype(int)
    names = [name.replace(" ", "_") for name in table.feature_names]
    return names, train_test_split(rows, malignant, test_size=0.3, stratify=malignant, random_state=SEED)


def train_logistic(names, train, labels):
    """A logistic regression on scaled features; the scaling is then folded in."""
    scaler = StandardScaler().fit(train.astype(np.float64))
    model = LogisticRegression(max_iter=1000).fit(scaler.transform(train.astype(np.float64)), labels)
    coefficients = model.coef_[0] / scaler.scale_
    intercept = model.intercept_[0] - float(np.dot(coefficients, scaler.mean_))
    text = json.dumps({"intercept": float(intercept), "coefficients": [float(c) for c in coefficients]})
    (HERE / "logistic.json").write_text(text + "\n")
    return lambda rows: model.predict_proba(scaler.transform(rows.astype(np.float64)))[:, 1]


def train_trees(train, labels):
    """Gradient-boosted trees, saved in XGBoost's own JSON."""
    model = xgboost.XGBClassifier(
        n_estimators=60, max_depth=3, learning_rate=0.15, subsample=0.9, random_state=SEED, n_jobs=1
    ).fit(train, labels)
    model.save_model(HERE / "trees.json")
    return lambda rows: model.predict_proba(rows)[:, 1]


def main():
    names, (train, held, train_labels, held_labels) = split()
    champion = train_logistic(names, train, train_labels)(held)
    challenger = train_trees(train, train_labels)(held)
    with open(HERE / "heldout.csv", "w", newline="") as out:
        w = csv.writer(out, lineterminator="\n")
        w.writerow(["malignant", "logistic", "trees", *names])
        for row, label, p, q in zip(held, held_labels, champion, challenger):
            w.writerow([label, repr(float(p)), repr(float(q)), *(str(v) for v in row)])
    agree = np.mean((champion >= 0.5) == (challenger >= 0.5))
    print(f"held out: {len(held)} rows")
    print(f"AUC: logistic {roc_auc_score(held_labels, champion):.4f}, trees {roc_auc_score(held_labels, challenger):.4f}")
    print(f"labels agree: {agree:.4f}")
    print(f"|logistic - trees| > 0.25: {np.mean(abs(champion - challenger) > 0.25):.4f}")


if __name__ == "__main__":
    main()
