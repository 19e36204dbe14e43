"""``chaos``: break one part on purpose and watch the system mend itself.

Each kind undoes itself, whether this program is killed meanwhile or not: what lasts is ended by a timer that is set
before the fault, on the machine that has it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from classroom_ops import status
from classroom_ops.commands import run, ssh
from classroom_ops.console import info
from classroom_ops.environment import Endpoints
from classroom_ops.errors import CommandError, OpsError, UsageError

SECONDS = 60
RECOVERY_SECONDS = 600.0
TICK_SECONDS = 2.0
_CALL_SECONDS = 60.0
# As root, but only what other users could still have: a big file at once, then what its own map has left.
_FILL = """
cd "$1/.." && for turn in 1 2 3 4 5 6; do
  free=$(df --block-size=1 --output=avail . | tail -n 1)
  if [ "$free" -ge 16777216 ]; then
    fallocate -l $((free - 8388608)) "chaos.$turn"
  elif [ "$free" -ge 4096 ]; then
    dd if=/dev/zero of="chaos.$turn" bs=4096 count=$((free / 4096)) conv=fsync status=none || true
  fi
done
"""


@dataclass(frozen=True)
class Kind:
    """A way to break something: what happens, whether only the local environment has it, and how it is done."""

    what: str
    only_local: bool
    strike: Callable[[Endpoints, str, int], None]


def _as_root(endpoints: Endpoints, host: str, *argv: str) -> None:
    ssh(endpoints, host, ["sudo", "-n", *argv], _CALL_SECONDS)


def _undo_later(endpoints: Endpoints, host: str, seconds: int, *argv: str) -> None:
    """Have the VM itself run a command in so many seconds."""
    unit = f"--unit=chaos-undo-{int(time.time())}"
    _as_root(endpoints, host, "systemd-run", "--quiet", "--collect", unit, f"--on-active={seconds}", *argv)


def _poller(endpoints: Endpoints, host: str, _seconds: int) -> None:
    _as_root(endpoints, host, "systemctl", "kill", "--signal=KILL", "classroom-poller")


def _function(endpoints: Endpoints, _host: str, _seconds: int) -> None:
    label = f"label=smart-classroom.environment={endpoints.environment}"
    command = ["docker", "ps", "--quiet", "--filter", f"label={status.LAMBDA_LABEL}", "--filter", label]
    names = run(command, _CALL_SECONDS).stdout.split()
    if not names:
        raise OpsError("no container of the function runs now: upload a video, then try again")
    run(["docker", "kill", *names], _CALL_SECONDS, ok=(0, 1))


def _network(endpoints: Endpoints, host: str, seconds: int) -> None:
    # systemd's own packet filter of the one service: SSH and the rest of the machine go on, and a reboot ends it too.
    setting = ["systemctl", "set-property", "--runtime", "classroom-poller.service"]
    _undo_later(endpoints, host, seconds, *setting, "IPAddressDeny=")
    _as_root(endpoints, host, *setting, "IPAddressDeny=any")


def _disk(endpoints: Endpoints, host: str, seconds: int) -> None:
    _undo_later(endpoints, host, seconds, "sh", "-c", f"rm -f {endpoints.results_dir}/../chaos.*")
    _as_root(endpoints, host, "bash", "-c", _FILL, "fill", endpoints.results_dir)


def _hypervisor(endpoints: Endpoints, _host: str, seconds: int) -> None:
    container = str(endpoints.cloud_container)
    # A process of its own, which outlives this one.
    undo = f'sleep {seconds}; exec docker start "$1"'
    subprocess.Popen(["sh", "-c", undo, "undo", container], stdout=subprocess.DEVNULL, start_new_session=True)
    run(["docker", "stop", "--time", "30", container], 120)


KINDS = {
    "poller": Kind("the polling service is killed", False, _poller),
    "function": Kind("the function's containers are killed", True, _function),
    "network": Kind("the poller reaches nothing", False, _network),
    "disk": Kind("the disk of the results is full", False, _disk),
    "hypervisor": Kind("the hypervisor is stopped, and its servers with it", True, _hypervisor),
}
_MOMENTS = {"poller", "function"}


def check(endpoints: Endpoints, name: str, confirmed: str, host: str | None) -> Kind:
    """The kind of this name.

    Raises:
        UsageError: there is no such kind here, no such VM, or the environment was not named where that is asked for.
    """
    if name not in KINDS:
        raise UsageError(f"there is no KIND={name}: {', '.join(KINDS)}")
    kind = KINDS[name]
    if endpoints.environment != "local" and confirmed != endpoints.environment:
        raise UsageError(
            f"{endpoints.environment} may be in use: to break something there type CONFIRM={endpoints.environment}"
        )
    if kind.only_local and (endpoints.endpoint_url is None or (name == "hypervisor" and not endpoints.cloud_container)):
        raise UsageError(f"KIND={name} is for an environment on this machine: in {endpoints.environment} it is AWS's")
    if host is not None and host not in endpoints.pollers:
        raise UsageError(f"there is no poller {host}: {', '.join(endpoints.pollers)}")
    return kind


def is_well(endpoints: Endpoints, host: str) -> bool:
    """Whether the poller on `host` serves its queues without a problem, and AWS's side of it works."""
    try:
        part = status.poller(endpoints, host)
    except CommandError:
        return False
    counters = part.data.get("status", {})
    return part.state is status.State.OK and counters.get("state") == "running" and bool(counters.get("fresh"))


def strike(endpoints: Endpoints, name: str, confirmed: str, host: str | None, seconds: int = SECONDS) -> float:
    """Break the part, wait until the poller is well again, and return the seconds that took.

    Raises:
        UsageError: as for `check`.
        OpsError: it did not get well by itself.
    """
    kind = check(endpoints, name, confirmed, host)
    victim = host or endpoints.pollers[0]
    if not is_well(endpoints, victim):
        raise OpsError(f"the poller on {victim} is not well as it is: make status first")
    lasting = "" if name in _MOMENTS else f" for {seconds} s"
    info(f"{kind.what}{lasting}: {victim}")
    begin = time.monotonic()
    kind.strike(endpoints, victim, seconds)
    ended = begin + (0 if name in _MOMENTS else seconds)
    deadline = ended + RECOVERY_SECONDS
    time.sleep(max(TICK_SECONDS, ended - time.monotonic()))
    while not is_well(endpoints, victim):
        if time.monotonic() > deadline:
            raise OpsError(f"{victim} is not well {RECOVERY_SECONDS:.0f} s after the fault: make status, then make up")
        time.sleep(TICK_SECONDS)
    return time.monotonic() - begin


def run_chaos(endpoints: Endpoints, name: str, confirmed: str, host: str | None, seconds: int) -> None:
    """`strike`, and say how it ended."""
    took = strike(endpoints, name, confirmed, host, seconds)
    info(f"well again {took:.0f} s after the fault began; what was uploaded meanwhile is being answered: make status")
