"""Talks to a gateway as a data scientist's code would: with NVIDIA's tritonclient.

Reads one JSON object on standard input: {"address", "model", "features": [[...], ...],
"probabilities": [...], "labels": [...]}; the last two are what the champion says to
the features. Writes one JSON object: {"passed": [names of checks], "ids": [the request
ids that the gateway answered]}. A check that fails ends the program with a traceback.
"""

import asyncio
import json
import queue
import sys

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

job = json.load(sys.stdin)
MODEL = job["model"]
FEATURES = np.array(job["features"], dtype=np.float32)
PROBABILITIES = np.array(job["probabilities"], dtype=np.float32)
LABELS = [label.encode() for label in job["labels"]]

client = triton.InferenceServerClient(job["address"])
passed, ids = [], []


def check(function):
    """Runs a check at once and notes that it passed."""
    function()
    passed.append(function.__name__)


def tensor(features=FEATURES):
    value = triton.InferInput("features", list(features.shape), "FP32")
    value.set_data_from_numpy(features)
    return value


def same_as_champion(result, request_id):
    np.testing.assert_allclose(result.as_numpy("probability"), PROBABILITIES, rtol=1e-5)
    assert list(result.as_numpy("label")) == LABELS, result.as_numpy("label")
    response = result.get_response()
    assert response.model_name == MODEL, response.model_name
    assert response.model_version == "1", response.model_version
    assert response.id == request_id, response.id
    ids.append(request_id)


def refused(code, function, *args, **kwargs):
    """Returns the message of the refusal."""
    try:
        function(*args, **kwargs)
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{code}", error
        return error.message()
    raise AssertionError(f"not refused; want {code}")


@check
def health():
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")


@check
def metadata():
    server = client.get_server_metadata()
    assert server.name == "understudy", server
    model = client.get_model_metadata(MODEL, as_json=True)
    assert model["name"] == MODEL, model
    assert [i["name"] for i in model["inputs"]] == ["features"], model
    assert [o["name"] for o in model["outputs"]] == ["probability", "label"], model


@check
def raw_tensors():
    same_as_champion(client.infer(MODEL, [tensor()], request_id="raw"), "raw")


@check
def typed_tensors():
    # tritonclient's own calls are always raw; its stubs are not.
    request = service_pb2.ModelInferRequest(model_name=MODEL, id="typed")
    value = request.inputs.add(name="features", datatype="FP32", shape=FEATURES.shape)
    value.contents.fp32_contents.extend(FEATURES.flatten().tolist())
    with grpc.insecure_channel(job["address"]) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    outputs = {o.name: o.contents for o in response.outputs}
    np.testing.assert_allclose(outputs["probability"].fp32_contents, PROBABILITIES, rtol=1e-5)
    assert list(outputs["label"].bytes_contents) == LABELS
    assert response.model_name == MODEL and response.id == "typed"
    ids.append("typed")


@check
def only_the_outputs_asked_for():
    result = client.infer(MODEL, [tensor()], outputs=[triton.InferRequestedOutput("probability")], request_id="outputs")
    assert result.as_numpy("label") is None
    np.testing.assert_allclose(result.as_numpy("probability"), PROBABILITIES, rtol=1e-5)
    ids.append("outputs")


@check
def parameters_and_headers():
    result = client.infer(MODEL, [tensor()], request_id="parameters", headers={"x-user-id": "u1"},
                          parameters={"user_id": "u1", "tier": 3, "dry": True})
    same_as_champion(result, "parameters")


@check
def gzip():
    same_as_champion(client.infer(MODEL, [tensor()], request_id="gzip", compression_algorithm="gzip"), "gzip")


@check
def version_of_the_champion():
    same_as_champion(client.infer(MODEL, [tensor()], model_version="1", request_id="version"), "version")
    message = refused("NOT_FOUND", client.infer, MODEL, [tensor()], model_version="99")
    assert "99" in message, message


@check
def unknown_model():
    message = refused("NOT_FOUND", client.infer, "nobody", [tensor()])
    assert MODEL in message, f"{message} does not name the model there is"


@check
def bad_tensor():
    message = refused("INVALID_ARGUMENT", client.infer, MODEL, [tensor(np.zeros((1, 3), dtype=np.float32))])
    assert "shape" in message, f"{message} is not the model server's own"


@check
def caller_out_of_time():
    refused("DEADLINE_EXCEEDED", client.infer, MODEL, [tensor()], client_timeout=1e-6)


@check
def many_at_once():
    answers = queue.Queue()
    for n in range(32):
        client.async_infer(MODEL, [tensor()], request_id=f"async-{n}", callback=lambda result, error: answers.put((result, error)))
    for _ in range(32):
        result, error = answers.get(timeout=30)
        assert error is None, error
        same_as_champion(result, result.get_response().id)


@check
def asyncio_client():
    async def infer():
        async with triton_aio.InferenceServerClient(job["address"]) as aio:
            return await aio.infer(MODEL, [tensor()], request_id="aio")

    same_as_champion(asyncio.run(infer()), "aio")


@check
def methods_of_triton_alone():
    refused("UNIMPLEMENTED", client.get_model_config, MODEL)
    refused("UNIMPLEMENTED", client.get_inference_statistics, MODEL)


assert len(ids) == len(set(ids)), "a check forgot to name its request"
client.close()
json.dump({"passed": passed, "ids": ids}, sys.stdout)
