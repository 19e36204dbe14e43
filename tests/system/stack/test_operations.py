"""What an operator does in a year, on the running stack: pause, dead letters, one video through both clouds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from classroom_ops import status
from classroom_ops.environment import PROJECT_ROOT
from tests.system.stack.running_stack import Stack
from tests.system.stack.test_commands import command

COUNT = 20
Tell = Callable[[str], None]


def playbook(name: str, seconds: float = 300) -> None:
    """Run a playbook against the stack."""
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "inventory/local", f"playbooks/{name}.yml"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def give_up(stack: Stack) -> int:
    """Move what waits in the input queue to its dead-letter queue, as five failed attempts would."""
    place, sqs = stack.endpoints, stack.aws.sqs
    url, dead = stack.aws.queue_url(place.input_queue), stack.aws.queue_url(place.dead_letter_queues[0])
    count = 0
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        for message in messages:
            sqs.send_message(QueueUrl=dead, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            count += 1
    return count


def test_paused_videos_wait_and_dead_letters_come_back_once(stack: Stack, tell: Tell) -> None:
    batch = stack.batch()
    start = time.monotonic()
    playbook("pause-pipeline")
    try:
        paused = time.monotonic() - start
        part = status.poller(stack.endpoints, stack.vm)
        assert (part.state, "paused since" in part.facts) == (status.State.WARN, True)
        stack.upload_many(batch, COUNT)
        time.sleep(5)
        assert stack.answered(batch) == 0
        assert give_up(stack) == COUNT
        shown = command("redrive", "--dry-run")
        assert shown.stdout.count(batch.prefix) == COUNT
        one = batch.videos[0].key
        assert "1 moved from" in command("redrive", "--key", one).stderr
        start = time.monotonic()
        done = command("redrive")
        assert f"{COUNT - 1} moved from" in done.stderr, done.stderr
        tell(f"paused in {paused:.0f} s, {COUNT - 1} dead letters moved in {time.monotonic() - start:.1f} s")
        assert stack.answered(batch) == 0
    finally:
        start = time.monotonic()
        playbook("resume-pipeline")
    tell(f"resumed in {time.monotonic() - start:.0f} s")
    stack.expect_all_answered_once(batch, 120)


def test_one_video_through_both_clouds(stack: Stack, tell: Tell) -> None:
    batch = stack.batch()
    stack.upload_many(batch, 2, ["two-students-720p.mp4"])
    stack.expect_all_answered_once(batch, 60)
    video = batch.videos[0]
    start = time.monotonic()
    traced = command("trace", "--", video.key)
    tell(f"traced in {time.monotonic() - start:.1f} s")
    assert traced.returncode == 0, traced.stderr
    for text in ("uploaded, ", "answered", "video_answered", "stored", ".csv", stack.endpoints.results_dir):
        assert text in traced.stdout, text
    assert batch.videos[1].key not in traced.stdout
    lines = command("logs", "--key", video.key).stdout.splitlines()
    assert {line.partition(" ")[0] for line in lines} == {stack.vm, "function"}
    assert not [line for line in lines if batch.videos[1].key in line]
