// Package models holds the two models of the demo, with the rows that neither was
// trained on. They were trained by train.py; scoring them needs Go alone.
package models

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Features is the number of measurements in a row.
const Features = 30

// group is the size of the three groups of columns: the mean of each measurement over a
// sample's cells, its standard error, and its worst value.
const group = Features / 3

// Exchange puts a row's standard errors where its worst values belong, and these where
// those do: a mistake in preparing data that no type and no range shows.
func Exchange(row []float32) {
	for i := group; i < 2*group; i++ {
		row[i], row[i+group] = row[i+group], row[i]
	}
}

// Threshold is the probability from which a row is labelled Malignant.
const Threshold = 0.5

// The labels that Label returns.
const (
	Malignant = "malignant"
	Benign    = "benign"
)

// Label returns the label that goes with a probability.
func Label(probability float32) string {
	if probability >= Threshold {
		return Malignant
	}
	return Benign
}

//go:embed logistic.json
var logisticJSON []byte

//go:embed trees.json
var treesJSON []byte

// Logistic is a logistic regression.
type Logistic struct {
	Intercept    float64   `json:"intercept"`
	Coefficients []float64 `json:"coefficients"`
}

// NewLogistic returns the trained logistic regression.
func NewLogistic() (*Logistic, error) {
	var m Logistic
	if err := json.Unmarshal(logisticJSON, &m); err != nil {
		return nil, fmt.Errorf("logistic.json: %w", err)
	}
	if len(m.Coefficients) != Features {
		return nil, fmt.Errorf("logistic.json: %d coefficients, want %d", len(m.Coefficients), Features)
	}
	return &m, nil
}

// Score returns the probability that the row is malignant. The row must have
// Features values; a NaN among them gives NaN.
func (m *Logistic) Score(row []float32) float32 {
	sum := m.Intercept
	for i, c := range m.Coefficients {
		sum += c * float64(row[i])
	}
	return float32(1 / (1 + math.Exp(-sum)))
}

// Trees are gradient-boosted trees for a binary label.
type Trees struct {
	margin float32
	trees  []tree
}

// tree keeps XGBoost's own layout: parallel arrays over nodes, the root at 0, and the
// value of a leaf where an inner node has its threshold.
type tree struct {
	Left        []int     `json:"left_children"`
	Right       []int     `json:"right_children"`
	Feature     []int     `json:"split_indices"`
	Threshold   []float32 `json:"split_conditions"`
	DefaultLeft []int     `json:"default_left"`
}

// NewTrees returns the trained trees.
func NewTrees() (*Trees, error) {
	var file struct {
		Learner struct {
			Param struct {
				BaseScore string `json:"base_score"`
			} `json:"learner_model_param"`
			Booster struct {
				Model struct {
					Trees []tree `json:"trees"`
				} `json:"model"`
			} `json:"gradient_booster"`
		} `json:"learner"`
	}
	if err := json.Unmarshal(treesJSON, &file); err != nil {
		return nil, fmt.Errorf("trees.json: %w", err)
	}
	base, err := strconv.ParseFloat(strings.Trim(file.Learner.Param.BaseScore, "[]"), 64)
	if err != nil {
		return nil, fmt.Errorf("trees.json: base_score: %w", err)
	}
	return &Trees{margin: float32(math.Log(base / (1 - base))), trees: file.Learner.Booster.Model.Trees}, nil
}

// Score returns the probability that the row is malignant. The row must have
// Features values; a NaN counts as missing and takes the branch learnt for that.
func (m *Trees) Score(row []float32) float32 {
	sum := m.margin
	for i := range m.trees {
		sum += m.trees[i].leaf(row)
	}
	return float32(1 / (1 + math.Exp(-float64(sum))))
}

func (t *tree) leaf(row []float32) float32 {
	at := 0
	for t.Left[at] >= 0 {
		value := row[t.Feature[at]]
		missing := value != value
		if value < t.Threshold[at] || missing && t.DefaultLeft[at] == 1 {
			at = t.Left[at]
			continue
		}
		at = t.Right[at]
	}
	return t.Threshold[at]
}
