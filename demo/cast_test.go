package demo

import (
	"slices"
	"testing"

	"github.com/understudy-serving/understudy/demo/models"
)

func TestMistakes(t *testing.T) {
	rows, err := models.HeldOut()
	if err != nil {
		t.Fatal(err)
	}
	exchanged := func(model string, user int) bool {
		row := slices.Clone(rows[0].Features)
		if prepare := mistake(model); prepare != nil {
			prepare(inferRequest(model, "", user, rows[0]), row)
		}
		return !slices.Equal(row, rows[0].Features)
	}
	for user, clinic := range clinics() {
		for model, want := range map[string]bool{act1Model: false, act2Model: false, act3aModel: true, act3bModel: clinic == wrongClinic} {
			if got := exchanged(model, user); got != want {
				t.Errorf("%s gets a row from %s wrong: %v, want %v", model, clinic, got, want)
			}
		}
	}
}
