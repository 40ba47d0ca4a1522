package rollout

import "testing"

func TestRecordPolicy(t *testing.T) {
	all := RecordAll()
	if !all.Everything() || all.Tensor("x", true) != Include || all.Redacts("x") {
		t.Errorf("RecordAll leaves something out: %+v", all)
	}
	for name, change := range map[string]func(*RecordPolicy){
		"inputs":     func(p *RecordPolicy) { p.Inputs = Digest },
		"outputs":    func(p *RecordPolicy) { p.Outputs = Drop },
		"a tensor":   func(p *RecordPolicy) { p.Tensors = []TensorPolicy{{"a", Include}, {"b", Drop}} },
		"parameters": func(p *RecordPolicy) { p.RedactParameters = []string{"user"} },
		"a sample":   func(p *RecordPolicy) { p.Sample = FullWeight - 1 },
	} {
		p := RecordAll()
		if change(&p); p.Everything() {
			t.Errorf("%s: %+v leaves nothing out", name, p)
		}
	}
	p := RecordPolicy{Inputs: Drop, Outputs: Digest, Sample: FullWeight,
		Tensors: []TensorPolicy{{"amount", Include}}, RedactParameters: []string{"user", "ip"}}
	for _, tt := range []struct {
		name  string
		input bool
		want  Treatment
	}{{"amount", true, Include}, {"amount", false, Include}, {"ssn", true, Drop}, {"ssn", false, Digest}} {
		if got := p.Tensor(tt.name, tt.input); got != tt.want {
			t.Errorf("%s (input %v) is treated as %s, want %s", tt.name, tt.input, got, tt.want)
		}
	}
	if !p.Redacts("ip") || p.Redacts("region") {
		t.Error("parameters are left out by another name")
	}
	if p.RedactParameters = []string{"*"}; !p.Redacts("region") {
		t.Error("* is not for all")
	}
}
