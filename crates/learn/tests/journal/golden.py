#!/usr/bin/env python3
"""Make known.tfevents: the event file for the records in src/journal/events.rs, by TensorBoard's own code.

    pip install tensorboard==2.21.0
    python golden.py
"""

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter


def scalar(tag: str, value: float) -> Summary.Value:
    return Summary.Value(tag=tag, simple_value=value)


def text(tag: str, value: str) -> Summary.Value:
    made = Summary.Value(tag=tag)
    made.tensor.dtype = DT_STRING
    made.tensor.tensor_shape.SetInParent()
    made.tensor.string_val.append(value.encode())
    made.metadata.plugin_data.plugin_name = "text"
    return made


with open(Path(__file__).parent / "known.tfevents", "wb") as file:
    writer = RecordWriter(file)
    events = [
        Event(wall_time=1000.0, file_version="brain.Event:2"),
        Event(wall_time=1000.0, session_log=SessionLog(status=SessionLog.START)),
        Event(wall_time=1000.0, summary=Summary(value=[scalar("eval/accuracy", 0.25)])),
        Event(
            wall_time=1002.5,
            step=300,
            summary=Summary(
                value=[
                    scalar("reward/mean", 0.1),
                    scalar("loss", float("inf")),
                    text("sample", "    <think>\n    2 + 2 → 4"),
                ]
            ),
        ),
    ]
    for event in events:
        writer.write(event.SerializeToString())
    writer.flush()
