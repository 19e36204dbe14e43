"""Parts are killed, cut off, filled up and restarted in the middle of work: nothing lost, nothing doubled, no help."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from classroom_ops import status, stored
from classroom_ops.commands import run
from classroom_ops.workload import Expected
from tests.system.stack.running_stack import FUNCTION_FILTERS, MEDIA, Batch, Stack

COUNT = 60
RECOVERY_SECONDS = 240
REBOOT_SECONDS = 480
CUT_SECONDS = 60
SAMPLE = "barack-obama-360p.mp4"
Tell = Callable[[str], None]

# As root, but only what other users could still have: a big file at once, then what its own map has left.
FILL = """
cd "$1/.." && for turn in 1 2 3 4 5 6; do
  free=$(df --block-size=1 --output=avail . | tail -n 1)
  if [ "$free" -ge 16777216 ]; then
    fallocate -l $((free - 8388608)) "filling.$turn"
  elif [ "$free" -ge 4096 ]; then
    dd if=/dev/zero of="filling.$turn" bs=4096 count=$((free / 4096)) conv=fsync status=none || true
  fi
done
df --block-size=1 --output=avail . | tail -n 1
"""


def in_the_middle(stack: Stack, count: int = COUNT) -> Batch:
    """A batch of which some videos are answered and others are not."""
    batch = stack.batch()
    stack.upload_many(batch, count)
    stack.await_("the first answers", lambda: stack.answered(batch) >= 2, 60, tick=0.1)
    assert stack.answered(batch) < count, "the batch is over before the fault: it has to be bigger"
    return batch


def recover(stack: Stack, batch: Batch, tell: Tell, seconds: float = RECOVERY_SECONDS) -> None:
    """Everything is answered once after the fault, and the reader learns how long that took."""
    start = time.monotonic()
    stack.expect_all_answered_once(batch, seconds)
    tell(f"all {len(batch.videos)} answered once {time.monotonic() - start:.0f} s after the fault")


def test_poller_killed(stack: Stack, tell: Tell) -> None:
    pid = stack.poller()["pid"]
    batch = in_the_middle(stack)
    stack.on_the_vm("systemctl", "kill", "--signal=KILL", "classroom-poller")
    recover(stack, batch, tell)
    assert stack.poller()["pid"] != pid, "the poller was not killed"


def test_function_killed_in_flight(stack: Stack, tell: Tell) -> None:
    batch = in_the_middle(stack)
    victims = run(["docker", "ps", "--quiet", *FUNCTION_FILTERS], 20).stdout.split()
    assert victims, "no function was running"
    run(["docker", "kill", *victims], 30, ok=(0, 1))
    recover(stack, batch, tell)


def test_same_upload_delivered_twice(stack: Stack, tell: Tell) -> None:
    batch = stack.batch()
    video = stack.upload(batch, "clip.mp4", *sample(stack))
    stack.send_event_again(video)
    stack.expect_all_answered_once(batch, 60)
    (first,) = stored.find(stack.endpoints, video.key)
    answered = stack.poller()["answered"]
    stack.send_event_again(video)
    stack.await_("the third delivery is dealt with", lambda: stack.poller()["answered"] > answered, 60, tick=1)
    recover(stack, batch, tell)
    assert stored.find(stack.endpoints, video.key) == [first]


def test_same_result_delivered_twice(stack: Stack, tell: Tell) -> None:
    batch = stack.batch()
    video = stack.upload(batch, "clip.mp4", *sample(stack))
    stack.expect_all_answered_once(batch, 60)
    (file,) = stored.find(stack.endpoints, video.key)
    body = stack.on_the_vm("cat", file.path).stdout
    written = stack.on_the_vm("stat", "--format=%i %y", file.path).stdout
    before = stack.poller()
    for _ in range(2):
        stack.send(stack.endpoints.output_queue, body)
    stack.await_("both are dealt with", lambda: stack.poller()["unchanged"] >= before["unchanged"] + 2, 60, tick=1)
    recover(stack, batch, tell)
    assert stack.on_the_vm("cat", file.path).stdout == body
    assert stack.on_the_vm("stat", "--format=%i %y", file.path).stdout == written, "it was written again"


def test_full_disk(stack: Stack, tell: Tell) -> None:
    batch = stack.batch()
    with full_disk(stack):
        stack.upload_many(batch, 20)
        stack.await_("answers in the bucket", lambda: stack.answered(batch) == 20, RECOVERY_SECONDS)
        stack.await_("the poller tells of the disk", lambda: "disk" in stack.poller()["problems"], 60, tick=1)
        assert stack.on_vm(batch) < 20, "the disk was not full"
        assert status.poller(stack.endpoints, stack.vm).state is status.State.WARN
    recover(stack, batch, tell)
    stack.await_("the poller is content again", lambda: not stack.poller()["problems"], 60, tick=1)


def test_network_cut_for_a_minute(stack: Stack, tell: Tell) -> None:
    batch = in_the_middle(stack)
    with network_cut(stack):
        during = stack.batch()
        stack.upload_many(during, 10)
        end = time.monotonic() + CUT_SECONDS
        while time.monotonic() < end:
            assert stack.answered(during) == 0, "the network was not cut"
            time.sleep(2)
    recover(stack, batch, tell)
    recover(stack, during, tell)


def test_vm_rebooted(stack: Stack, tell: Tell) -> None:
    boot = boot_id(stack)
    batch = in_the_middle(stack)
    cloud = status.connect(stack.endpoints, 30)
    cloud.compute.reboot_server(cloud.compute.find_server(stack.vm, ignore_missing=False), "HARD")
    stack.await_("the VM is up again", lambda: boot_id(stack) != boot, REBOOT_SECONDS, tick=3)
    recover(stack, batch, tell)


def test_emulator_restarted(stack: Stack, tell: Tell) -> None:
    batch = in_the_middle(stack)
    run(["docker", "restart", "--time", "60", str(stack.endpoints.aws_container)], 120)
    stack.await_("AWS answers again", lambda: stack.depths(), 120)
    recover(stack, batch, tell)


def test_cloud_restarted(stack: Stack, tell: Tell) -> None:
    boot = boot_id(stack)
    batch = in_the_middle(stack)
    run(["docker", "restart", "--time", "120", str(stack.endpoints.cloud_container)], 240)
    stack.await_("the VM is up again", lambda: boot_id(stack) != boot, REBOOT_SECONDS, tick=3)
    recover(stack, batch, tell)


def sample(stack: Stack) -> tuple[Path, Expected]:
    """A clip with a recognised student, and its answer."""
    return MEDIA / SAMPLE, stack.known[SAMPLE]


def boot_id(stack: Stack) -> str:
    """Another one after every boot of the VM."""
    return stack.on_the_vm("cat", "/proc/sys/kernel/random/boot_id", seconds=10).stdout


@contextmanager
def full_disk(stack: Stack) -> Iterator[None]:
    """The file system of the VM's results has no block left, until the block is left."""
    results = stack.endpoints.results_dir
    try:
        left = stack.on_the_vm("bash", "-c", FILL, "fill", results, seconds=120).stdout.split()[-1]
        assert int(left) < 4096, f"{left} bytes are still free"
        yield
    finally:
        stack.on_the_vm("bash", "-c", 'rm -f "$1"/../filling.*', "free", results)


@contextmanager
def network_cut(stack: Stack) -> Iterator[None]:
    """No packet between the VM and AWS, in either direction, until the block is left."""
    container = str(stack.endpoints.cloud_container)
    address = run(
        [
            "docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
            str(stack.endpoints.aws_container),
        ],
        20,
    ).stdout.split()[0]  # fmt: skip
    rules = [[side, address, "-j", "DROP"] for side in ("--destination", "--source")]

    def change(action: str, rule: list[str], *, ok: tuple[int, ...] = (0,)) -> None:
        run(["docker", "exec", container, "iptables", action, "FORWARD", *rule], 20, ok)

    try:
        for rule in rules:
            change("--insert", rule)
        yield
    finally:
        for rule in rules:
            change("--delete", rule, ok=(0, 1))
