package models

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
)

//go:embed heldout.csv
var heldoutCSV string

// Row is one sample that no model was trained on.
type Row struct {
	// Features are the measurements, Features of them, in the order of heldout.csv.
	Features []float32
	// Malignant is the true label.
	Malignant bool
	// Logistic and Trees are what the original models answered, before they were
	// brought to Go.
	Logistic, Trees float64
}

// behind the label and the two reference probabilities come the features.
const leadingColumns = 3

// HeldOut returns the held-out rows, in the order of the file.
func HeldOut() ([]Row, error) {
	records, err := csv.NewReader(strings.NewReader(heldoutCSV)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("heldout.csv: %w", err)
	}
	if len(records) < 2 || len(records[0]) != leadingColumns+Features {
		return nil, fmt.Errorf("heldout.csv: want a header and rows of %d columns", leadingColumns+Features)
	}
	rows := make([]Row, 0, len(records)-1)
	for i, record := range records[1:] {
		row, err := parseRow(record)
		if err != nil {
			return nil, fmt.Errorf("heldout.csv: row %d: %w", i+1, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func parseRow(record []string) (Row, error) {
	row := Row{Malignant: record[0] == "1", Features: make([]float32, Features)}
	var err error
	if row.Logistic, err = strconv.ParseFloat(record[1], 64); err != nil {
		return Row{}, err
	}
	if row.Trees, err = strconv.ParseFloat(record[2], 64); err != nil {
		return Row{}, err
	}
	for i, text := range record[leadingColumns:] {
		v, err := strconv.ParseFloat(text, 32)
		if err != nil {
			return Row{}, err
		}
		row.Features[i] = float32(v)
	}
	return row, nil
}
