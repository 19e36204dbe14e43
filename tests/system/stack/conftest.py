"""Tests against the running stack of ``make up``: ``pytest tests/system/stack``. They leave it as they found it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from classroom_ops import environment, status
from classroom_ops.aws import AwsFailure
from classroom_ops.commands import one_connection
from classroom_ops.console import plain_text
from classroom_ops.environment import Endpoints
from classroom_ops.errors import OpsError
from tests.system.stack.running_stack import Stack

QUIET_SECONDS = 120


@pytest.fixture(scope="session")
def endpoints() -> Iterator[Endpoints]:
    """The local environment, with one SSH connection for all tests."""
    with one_connection(environment.load("local")) as connected:
        yield connected


@pytest.fixture(scope="session")
def running(endpoints: Endpoints) -> Stack:
    """The stack, warm: a first video has been answered."""
    stack = Stack(endpoints)
    batch = stack.batch()
    stack.upload_many(batch, 2, ["barack-obama-360p.mp4"])
    stack.expect_all_answered_once(batch, 120)
    _forget(stack)
    return stack


@pytest.fixture
def stack(running: Stack, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, at rest before and after the test; what a failed test leaves does not fail the next."""
    for queue in running.endpoints.dead_letter_queues:
        if running.aws.depth(queue).total:
            running.aws.sqs.purge_queue(QueueUrl=running.aws.queue_url(queue))
    running.await_("the stack at rest before the test", running.queues_empty, QUIET_SECONDS)
    yield running
    if request.session.testsfailed == 0:
        running.await_("no message left behind", running.queues_empty, 60)
    _forget(running)


def _forget(stack: Stack) -> None:
    while stack.batches:
        batch = stack.batches.pop()
        try:
            stack.remove(batch)
        except (OpsError, *AwsFailure):  # a test that failed may leave a part away
            continue


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Writes a figure for the reader, captured output or not."""

    def write(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n    {text}")
            sys.stdout.flush()

    return write


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failure is reported together with the state of all parts and the end of the poller's journal."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    running = getattr(item, "funcargs", {}).get("stack")
    if not report.failed or not isinstance(running, Stack):
        return
    parts = status.gather(running.endpoints, status.probes(running.endpoints))
    report.sections.append(("status", plain_text(status.screen(running.endpoints, parts))))
    try:
        journal = running.on_the_vm("journalctl", "--no-pager", "--lines", "60", "--unit", "classroom-poller").stdout
    except OpsError as error:
        journal = str(error)
    report.sections.append(("poller's journal", journal))
