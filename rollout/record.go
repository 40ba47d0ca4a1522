package rollout

// Treatment says what becomes of a tensor's contents in the record. Name, datatype and
// shape stay in every case.
type Treatment string

// The treatments.
const (
	// Include records the contents as they were received.
	Include Treatment = "include"
	// Digest records their SHA-256 instead.
	Digest Treatment = "digest"
	// Drop records nothing of them.
	Drop Treatment = "drop"
)

// RecordPolicy says what of a model's payloads goes into its records. The comparison
// is made before it applies.
type RecordPolicy struct {
	// Inputs and Outputs are for tensors that Tensors does not name.
	Inputs, Outputs Treatment
	Tensors         []TensorPolicy
	// RedactParameters names request and response parameters, those of tensors
	// included, that are left out; "*" is all.
	RedactParameters []string
	// Sample is the share of records that have payloads. The others stay records, so
	// that every eligible request has one.
	Sample Weight
}

// TensorPolicy treats the inputs and outputs of one name.
type TensorPolicy struct {
	Name string
	As   Treatment
}

// RecordAll is the policy that leaves out nothing.
func RecordAll() RecordPolicy {
	return RecordPolicy{Inputs: Include, Outputs: Include, Sample: FullWeight}
}

// Everything tells whether p leaves out nothing.
func (p RecordPolicy) Everything() bool { return !p.Strict() && p.Sample >= FullWeight }

// Strict tells whether p leaves something out of the records in its sample.
func (p RecordPolicy) Strict() bool {
	for _, t := range p.Tensors {
		if t.As != Include {
			return true
		}
	}
	return p.Inputs != Include || p.Outputs != Include || len(p.RedactParameters) > 0
}

// Tensor returns the treatment of a tensor, which is an input or else an output.
func (p RecordPolicy) Tensor(name string, input bool) Treatment {
	for _, t := range p.Tensors {
		if t.Name == name {
			return t.As
		}
	}
	if input {
		return p.Inputs
	}
	return p.Outputs
}

// Redacts tells whether the parameter of this name is left out.
func (p RecordPolicy) Redacts(parameter string) bool {
	for _, name := range p.RedactParameters {
		if name == parameter || name == "*" {
			return true
		}
	}
	return false
}
