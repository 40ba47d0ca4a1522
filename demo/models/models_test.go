package models

import (
	"math"
	"slices"
	"testing"
)

// tolerance is what a probability may differ from the original model's: float32
// arithmetic in another order, no more.
const tolerance = 1e-6

func load(t *testing.T) (*Logistic, *Trees, []Row) {
	t.Helper()
	logistic, err := NewLogistic()
	if err != nil {
		t.Fatal(err)
	}
	trees, err := NewTrees()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := HeldOut()
	if err != nil {
		t.Fatal(err)
	}
	return logistic, trees, rows
}

func TestScoresEqualTheOriginals(t *testing.T) {
	logistic, trees, rows := load(t)
	if len(rows) != 171 {
		t.Fatalf("%d held-out rows, want 171", len(rows))
	}
	var worst float64
	for i, row := range rows {
		for _, c := range []struct {
			model     string
			got, want float64
		}{
			{"logistic", float64(logistic.Score(row.Features)), row.Logistic},
			{"trees", float64(trees.Score(row.Features)), row.Trees},
		} {
			diff := math.Abs(c.got - c.want)
			worst = max(worst, diff)
			if !(diff < tolerance) {
				t.Errorf("row %d: %s gives %v, the original %v", i, c.model, c.got, c.want)
			}
		}
	}
	t.Logf("largest difference %.2g", worst)
}

// The README quotes these figures.
func TestQualityIsAsTheREADMESays(t *testing.T) {
	logistic, trees, rows := load(t)
	if got := auc(rows, logistic.Score); math.Abs(got-0.9975) > 5e-5 {
		t.Errorf("AUC of the logistic regression is %.4f", got)
	}
	if got := auc(rows, trees.Score); math.Abs(got-0.9963) > 5e-5 {
		t.Errorf("AUC of the trees is %.4f", got)
	}
	agree := 0
	for _, row := range rows {
		if Label(logistic.Score(row.Features)) == Label(trees.Score(row.Features)) {
			agree++
		}
	}
	if agree != 166 {
		t.Errorf("labels agree on %d of %d rows, want 166", agree, len(rows))
	}
}

// The README quotes these figures, and the demo's act 3 stands on them: the trees answer as
// ever, and wrongly.
func TestTreesDoNotSurviveAnExchange(t *testing.T) {
	logistic, trees, rows := load(t)
	var malignant, found, differ int
	for _, row := range rows {
		exchanged := slices.Clone(row.Features)
		Exchange(exchanged)
		label := Label(trees.Score(exchanged))
		if row.Malignant {
			malignant++
		}
		if label == Malignant {
			found++
		}
		if label != Label(logistic.Score(row.Features)) {
			differ++
		}
		if Exchange(exchanged); !slices.Equal(exchanged, row.Features) {
			t.Fatal("an exchange and another one do not give the row back")
		}
	}
	if malignant != 64 || found != 0 || differ != 61 {
		t.Errorf("of %d malignant rows %d are called so, %d labels differ from the logistic regression's; want 64, 0 and 61", malignant, found, differ)
	}
}

// auc is the share of (malignant, benign) pairs that the score puts in order.
func auc(rows []Row, score func([]float32) float32) float64 {
	var ordered, pairs float64
	for _, m := range rows {
		for _, b := range rows {
			if !m.Malignant || b.Malignant {
				continue
			}
			pairs++
			switch p, q := score(m.Features), score(b.Features); {
			case p > q:
				ordered++
			case p == q:
				ordered += 0.5
			}
		}
	}
	return ordered / pairs
}

func TestLabelAtTheThreshold(t *testing.T) {
	for p, want := range map[float32]string{0: Benign, 0.4999: Benign, 0.5: Malignant, 1: Malignant} {
		if got := Label(p); got != want {
			t.Errorf("Label(%v) = %s, want %s", p, got, want)
		}
	}
}

func TestMissingValues(t *testing.T) {
	logistic, trees, rows := load(t)
	row := append([]float32(nil), rows[0].Features...)
	nan := float32(math.NaN())
	for i := range row {
		row[i] = nan
	}
	if got := logistic.Score(row); !math.IsNaN(float64(got)) {
		t.Errorf("logistic regression of NaN is %v, want NaN", got)
	}
	if got := trees.Score(row); !(got >= 0 && got <= 1) {
		t.Errorf("trees over missing values give %v, want a probability", got)
	}
}

func TestTreeTakesTheBranchForMissingValues(t *testing.T) {
	for defaultLeft, want := range []float32{2, 1} {
		stump := tree{
			Left: []int{1, -1, -1}, Right: []int{2, -1, -1}, Feature: []int{0, 0, 0},
			Threshold: []float32{5, 1, 2}, DefaultLeft: []int{defaultLeft, 0, 0},
		}
		if got := stump.leaf([]float32{float32(math.NaN())}); got != want {
			t.Errorf("default_left %d: leaf %v, want %v", defaultLeft, got, want)
		}
		if got := stump.leaf([]float32{5}); got != 2 {
			t.Errorf("a value at the threshold goes to leaf %v, want the right one", got)
		}
	}
}

func TestMalformedRows(t *testing.T) {
	for _, column := range []int{1, 2, leadingColumns, leadingColumns + Features - 1} {
		record := make([]string, leadingColumns+Features)
		for i := range record {
			record[i] = "1"
		}
		record[column] = "x"
		if _, err := parseRow(record); err == nil {
			t.Errorf("column %d: %q was accepted", column, "x")
		}
	}
}
