package main
import ("testing";"context";"os")
func TestPlots(t *testing.T) {
	os.Chdir("/tmp/plots")
	if err := plotEvidence(); err != nil { t.Fatal(err) }
	s := sample{quick: true, ended: func(){}}
	_ = s; _ = context.Background
	plotDetection(t.Context(), s)
	plotPasses(t.Context(), s)
	var sc [][]score
	for range scenarios { var r []score; for range judges { var x score; x.rolledBack.All=10; x.rolledBack.Of=3; x.promoted.All=10; x.promoted.Of=5; r = append(r, x) }; sc = append(sc, r) }
	plotDuel(sc)
}
