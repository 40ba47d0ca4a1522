"""Load the records of Understudy from Kafka into a pandas data frame: see README.md."""

import argparse
import struct

import numpy as np
import pandas as pd
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from understudy.record.v1 import record_pb2

TYPES = {"BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1", "UINT16": "<u2",
         "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
CONTENTS = {"BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
            "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
            "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"}


def messages(brokers, topic, timeout=30.0):
    """Yield the messages that the topic holds now, of all partitions; no offset is committed."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "consumer-python", "enable.auto.commit": False})
    try:
        found = consumer.list_topics(topic, timeout).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        left = {}
        for partition in found.partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout)
            if high > low:
                left[partition] = high
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in left])
        while left:
            batch = consumer.consume(10_000, timeout)
            if not batch:
                raise TimeoutError(f"nothing came for {timeout} s; left: {left}")
            for m in batch:
                if m.error():
                    raise KafkaException(m.error())
                if m.offset() < left.get(m.partition(), 0):
                    yield m
                if m.offset() + 1 >= left.get(m.partition(), np.inf):
                    del left[m.partition()]
    finally:
        consumer.close()


def decode(message):
    """Return the Prediction of a message, or None where it is no record."""
    headers = {k: v for k, v in message.headers() or []}
    p = record_pb2.Prediction()
    try:
        if headers.get("content-type", b"").startswith(b"application/json"):
            json_format.Parse(message.value(), p, ignore_unknown_fields=True)
        else:
            p.ParseFromString(message.value() or b"")
    except (DecodeError, json_format.ParseError, TypeError, UnicodeDecodeError):
        return None
    return p if p.id else None


def read(brokers, topic):
    """Yield each record once: delivery is at least once, and the same id is the same record."""
    seen = set()
    for m in messages(brokers, topic):
        p = decode(m)
        if p is not None and p.id not in seen:
            seen.add(p.id)
            yield p


def outputs(response):
    """Return a ModelInferResponse's outputs by name, as arrays; those without contents are left out."""
    found = {}
    for i, t in enumerate(response.outputs):
        shape = [int(d) for d in t.shape]
        try:
            if i < len(response.raw_output_contents):
                values = raw(t.datatype, response.raw_output_contents[i])
            else:
                values = np.array(list(getattr(t.contents, CONTENTS[t.datatype])), dtype=object if t.datatype == "BYTES" else TYPES[t.datatype])
            found[t.name] = values.reshape(shape)
        except (KeyError, ValueError, struct.error):
            continue
    return found


def raw(datatype, contents):
    if datatype == "BF16":  # the upper half of a float32
        return (np.frombuffer(contents, "<u2").astype("<u4") << 16).view("<f4")
    if datatype != "BYTES":
        return np.frombuffer(contents, TYPES[datatype])
    elements, at = [], 0
    while at < len(contents):
        (size,) = struct.unpack_from("<I", contents, at)
        elements.append(contents[at + 4:at + 4 + size])
        at += 4 + size
    return np.array(elements, dtype=object)


def scalar(values):
    if values.size != 1:
        return values
    value = values.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value.item()


def row(p):
    """Return a record as a flat dict."""
    r = {"id": p.id, "model": p.model, "revision": p.revision, "weight": p.weight / 10_000,
         "mode": record_pb2.Mode.Name(p.mode).removeprefix("MODE_").lower(),
         "assigned": record_pb2.Arm.Name(p.assigned).removeprefix("ARM_").lower(),
         "served": record_pb2.Arm.Name(p.served).removeprefix("ARM_").lower(),
         "received_at": pd.Timestamp(p.received_at.ToNanoseconds(), unit="ns", tz="UTC"), "diverted": p.diverted,
         "agree": p.comparison.agree if p.HasField("comparison") else None}
    for name, value in p.segments.items():
        r["segment_" + name] = value
    for name, arm in (("champion", p.champion), ("challenger", p.challenger)):
        r[name + "_version"], r[name + "_code"], r[name + "_absent"] = arm.version, arm.code, arm.absent
        r[name + "_latency"] = arm.latency.ToNanoseconds() / 1e9 if arm.HasField("latency") else np.nan
        for output, values in outputs(arm.response).items():
            r[f"{name}_{output}"] = scalar(values)
    return r


def frame(records):
    return pd.DataFrame([row(p) for p in records])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", default="localhost:9092")
    parser.add_argument("--topic", default="understudy.predictions")
    parser.add_argument("--csv", help="write the frame to this file")
    args = parser.parse_args()
    df = frame(read(args.brokers, args.topic))
    if df.empty:
        print("there are no records yet")
        return
    if args.csv:
        df.to_csv(args.csv, index=False)
    compared = df[df.agree.notna()]
    print(f"{len(df)} records, {len(compared)} compared, {int(compared.agree.astype(bool).sum())} agree")
    print(df[["champion_latency", "challenger_latency"]].quantile([0.5, 0.9, 0.99]).to_string())
    print(compared[~compared.agree.astype(bool)].tail(10).T.to_string())


if __name__ == "__main__":
    main()
