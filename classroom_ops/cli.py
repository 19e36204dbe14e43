"""Command line: ``python -m classroom_ops [--environment NAME] COMMAND ...``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from classroom_ops import (
    chaos,
    cost,
    drift,
    environment,
    environments,
    logs,
    redrive,
    status,
    students,
    trace,
    upload,
    verify,
    workload,
)
from classroom_ops.aws import Aws
from classroom_ops.commands import one_connection
from classroom_ops.console import info, print_data, show, size
from classroom_ops.environment import Endpoints
from classroom_ops.errors import OpsError

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="classroom_ops", description=__doc__.partition("\n")[0], allow_abbrev=False)
    top.add_argument(
        "--environment",
        default="local",
        help="the environment below inventory/ (default: %(default)s)",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    one = commands.add_parser("upload", help="upload a video, wait for its answer, print the CSV")
    one.add_argument("video", help="a video file, MP4 or MOV")
    one.add_argument("--key", help="its name in the bucket (default: the name of the file)")
    one.add_argument("--timeout", type=_seconds, default=120.0, metavar="S", help="seconds to wait (default: 120)")

    many = commands.add_parser("workload", help="upload many clips with known answers and check every answer")
    many.add_argument("--count", type=int, default=100, metavar="N", help="how many clips (default: 100)")
    many.add_argument("--seed", type=int, default=0, help="decides the order of the clips (default: 0)")
    many.add_argument("--rate", type=float, default=0.0, help="uploads per second, 0: as fast as possible (default: 0)")
    many.add_argument("--timeout", type=_seconds, metavar="S", help="seconds after which an answer is late")
    many.add_argument("--media", type=Path, default=workload.MEDIA, help="directory with clips and answers.json")
    many.add_argument("--keep", action="store_true", help="leave the clips and their results where they are")

    who = commands.add_parser("students", help="who is enrolled")
    who.add_argument("--class", dest="class_name", metavar="CLASS", help="of this class only")
    who.add_argument("--json", action="store_true", help="the same for programs")

    screen = commands.add_parser("status", help="one screen: is every part healthy?")
    screen.add_argument("--json", action="store_true", help="the same for programs")

    proof = commands.add_parser("verify", help="send one clip through the whole system and compare every trace of it")
    proof.add_argument("--depth", choices=("quick", "full"), default="quick", help="full: every kind of answer")
    proof.add_argument("--media", type=Path, default=workload.MEDIA, help="directory with clips and answers.json")

    fault = commands.add_parser("chaos", help="break one part on purpose and watch it get well")
    fault.add_argument("kind", help=", ".join(chaos.KINDS))
    fault.add_argument("--confirm", default="", help="name of the environment, where it is not local")
    fault.add_argument("--on", metavar="VM", help="which poller is hit (default: the first)")
    fault.add_argument(
        "--seconds", type=int, default=chaos.SECONDS, metavar="S", help="how long (default: %(default)s)"
    )

    commands.add_parser("environments", help="all environments, one line each")

    bill = commands.add_parser("cost", help="what this month has cost so far, by the environment's tags")
    bill.add_argument("--project", required=True, help="value of the tag project")

    commands.add_parser("drift", help="what differs from the desired state: exit 2 when something does, 0 when nothing")

    again = commands.add_parser("redrive", help="show the dead letters and move them back into their queues")
    again.add_argument("--key", help="only those about this video")
    again.add_argument("--dry-run", action="store_true", help="show them and move nothing")

    one = commands.add_parser("trace", help="one video through both clouds, each step with its time")
    one.add_argument("key", help="its name in the bucket")

    version = commands.add_parser("prove-function", help="have one version of the function answer a clip")
    version.add_argument("--qualifier", required=True, help="number of the version, or an alias")
    version.add_argument("--media", type=Path, default=workload.MEDIA, help="directory with clips and answers.json")

    archive = commands.add_parser("logs", help="collect all logs in one archive, without secrets and students' names")
    archive.add_argument("--key", help="no archive: only print the lines about this video")
    archive.add_argument("--output", metavar="FILE", help="the archive (default: below .state/<environment>/logs/)")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 not, 2 typed wrongly or drifted, 130 interrupted."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if options.command == "environments":
            show(environments.table(), stderr=False)
            return 0
        if options.command == "drift":  # of an environment that is not deployed everything differs
            return drift.run(options.environment)
        endpoints = environment.load(options.environment)
        return _COMMANDS[options.command](endpoints, options)
    except OpsError as error:
        info(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        info("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of standard output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _upload(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints) as connected:
        text = upload.run(Aws(connected), options.video, options.key, options.timeout)
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


def _workload(endpoints: Endpoints, options: argparse.Namespace) -> int:
    media, count, seed, rate, timeout = options.media, options.count, options.seed, options.rate, options.timeout
    with one_connection(endpoints) as connected:
        return workload.run(Aws(connected), media, count, seed, rate, timeout, keep=options.keep)


def _students(endpoints: Endpoints, options: argparse.Namespace) -> int:
    found = students.listed(Aws(endpoints), options.class_name)
    if options.json:
        document = students.document(endpoints.environment, options.class_name, found)
        print_data(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        show(students.screen(found), stderr=False)
    return 0


def _status(endpoints: Endpoints, options: argparse.Namespace) -> int:
    parts = status.gather(endpoints, status.probes(endpoints))
    if options.json:
        print_data(json.dumps(status.document(endpoints, parts), indent=2))
    else:
        show(status.screen(endpoints, parts), stderr=False)
    return 0 if status.is_healthy(parts) else 1


def _verify(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints, kept=True) as connected:
        for line in verify.run(Aws(connected), options.media, full=options.depth == "full"):
            print_data(line)
    return 0


def _logs(endpoints: Endpoints, options: argparse.Namespace) -> int:
    if options.key:
        with one_connection(endpoints) as connected:
            trace.lines(Aws(connected), options.key)
        return 0
    path, length, missing = logs.make(endpoints, options.output)
    for name in missing:
        info(f"not collected: {name}")
    info(f"{size(length)}, secrets and names of students taken out:")
    print_data(str(path))
    return 0


def _prove_function(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints, kept=True) as connected:
        print_data(verify.prove_function(Aws(connected), options.media, options.qualifier))
    return 0


def _chaos(endpoints: Endpoints, options: argparse.Namespace) -> int:
    chaos.run_chaos(endpoints, options.kind, options.confirm, options.on, options.seconds)
    return 0


def _cost(endpoints: Endpoints, options: argparse.Namespace) -> int:
    said, bill = cost.actual(Aws(endpoints), options.project)
    for line in said:
        print_data(line)
    if bill is not None:
        show(bill, stderr=False)
    return 0


def _trace(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints) as connected:
        trace.run(Aws(connected), options.key)
    return 0


def _redrive(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints) as connected:
        redrive.run(Aws(connected), options.key, dry_run=options.dry_run)
    return 0


_COMMANDS = {
    "upload": _upload,
    "workload": _workload,
    "status": _status,
    "students": _students,
    "logs": _logs,
    "verify": _verify,
    "redrive": _redrive,
    "trace": _trace,
    "cost": _cost,
    "chaos": _chaos,
    "prove-function": _prove_function,
}


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 86_400:
        raise argparse.ArgumentTypeError(f"{text} s: more than 0, less than a day")
    return value


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
