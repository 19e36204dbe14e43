"""Figures of the running stack, for the reader: only wrong answers fail here, for time depends on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from classroom_ops.answers import table_key
from classroom_ops.environment import PROJECT_ROOT
from tests.system.stack.running_stack import MEDIA, Batch, Stack

CLIP = "barack-obama-720p.mp4"


def test_warm_uploads(stack: Stack, tell: Callable[[str], None]) -> None:
    """From the end of the upload to the CSV in the bucket, one video at a time."""
    batch = stack.batch()
    seconds: list[float] = []
    for number in range(10):
        video = stack.upload(batch, f"{number}.mp4", MEDIA / CLIP, stack.known[CLIP])
        csv = table_key(video.key)
        stack.await_("the answer", partial(_written, stack, batch, csv), 60, tick=0.05)
        now, written = time.time(), stack.result_objects(batch)[csv].timestamp()
        # The bucket's own time where it tells more than whole seconds.
        seconds.append(
            written - video.uploaded_at if written % 1 and written > video.uploaded_at else now - video.uploaded_at
        )
    stack.expect_all_answered_once(batch, 60)
    tell(f"warm upload, 10 times: median {median(seconds):.2f} s, worst {max(seconds):.2f} s (budget 1.5 s)")


def test_workload_of_100(stack: Stack, tell: Callable[[str], None]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "classroom_ops", "workload", "--count", "100"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((stack.endpoints.state_dir / "workload.json").read_text())
    assert report["right"] == report["on_vm"]["found"] == 100
    latency = report["latency_seconds"]
    tell(
        f"workload of 100: {report['seconds']:.1f} s (budget 60 s), {report['throughput_per_second']:.1f} clips/s, "
        f"p50 {latency['p50']:.2f} s, p95 {latency['p95']:.2f} s"
    )


def _written(stack: Stack, batch: Batch, key: str) -> bool:
    return key in stack.result_objects(batch)
