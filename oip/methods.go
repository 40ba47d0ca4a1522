package oip

import "github.com/understudy-serving/understudy/proto/inference"

// The full names of the methods that the gateway forwards.
const (
	MethodModelInfer    = inference.GRPCInferenceService_ModelInfer_FullMethodName
	MethodModelReady    = inference.GRPCInferenceService_ModelReady_FullMethodName
	MethodModelMetadata = inference.GRPCInferenceService_ModelMetadata_FullMethodName
)
