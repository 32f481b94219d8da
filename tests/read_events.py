"""Compares what TensorBoard's own reader finds in a run directory with metrics.jsonl."""
import json, math, sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
reports = [json.loads(line) for line in open(sys.argv[1] + "/metrics.jsonl")]
found = {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
expected = {}
for report in reports:
    for tag, value in report.items():
        if "/" in tag and value is not None:
            assert report["step"] not in expected.setdefault(tag, {}), (tag, report["step"])
            expected[tag][report["step"]] = value
assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
for tag, values in expected.items():
    assert found[tag].keys() == values.keys(), (tag, found[tag].keys(), values.keys())
    assert all(math.isclose(found[tag][s], v, rel_tol=1e-6) for s, v in values.items()), tag
    assert len(events.Scalars(tag)) == len(values), tag
assert "train/loss" in found and "val/R@1_mean" in found
