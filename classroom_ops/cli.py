"""Command line: ``python -m classroom_ops [--environment NAME] {upload,workload,status,logs,verify} ...``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from classroom_ops import environment, logs, status, upload, verify, workload
from classroom_ops.aws import Aws, AwsFailure, explain
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

    screen = commands.add_parser("status", help="one screen: is every part healthy?")
    screen.add_argument("--json", action="store_true", help="the same for programs")

    proof = commands.add_parser("verify", help="send one clip through the whole system and compare every trace of it")
    proof.add_argument("--media", type=Path, default=workload.MEDIA, help="directory with clips and answers.json")

    archive = commands.add_parser("logs", help="collect all logs in one archive, without secrets and students' names")
    archive.add_argument("--output", metavar="FILE", help="the archive (default: below .state/<environment>/logs/)")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 not, 2 typed wrongly, 130 interrupted."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    endpoints = None
    try:
        endpoints = environment.load(options.environment)
        return _COMMANDS[options.command](endpoints, options)
    except OpsError as error:
        info(f"error: {error}")
        return error.exit_code
    except AwsFailure as error:
        info(f"error: {explain(error, endpoints) if endpoints else error}")
        return 1
    except KeyboardInterrupt:
        info("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of standard output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # a person is told what to do; whoever mends it finds the rest in the file
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        info(f"error: {options.command} met something that it does not know ({told}){_kept(error)}: run make status")
        return 1


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


def _status(endpoints: Endpoints, options: argparse.Namespace) -> int:
    parts = status.gather(endpoints, status.probes(endpoints))
    if options.json:
        print_data(json.dumps(status.document(endpoints, parts), indent=2))
    else:
        show(status.screen(endpoints, parts), stderr=False)
    return 0 if status.is_healthy(parts) else 1


def _verify(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints, kept=True) as connected:
        for line in verify.run(Aws(connected), options.media):
            print_data(line)
    return 0


def _logs(endpoints: Endpoints, options: argparse.Namespace) -> int:
    path, length, missing = logs.make(endpoints, options.output)
    for name in missing:
        info(f"not collected: {name}")
    info(f"{size(length)}, secrets and names of students taken out:")
    print_data(str(path))
    return 0


_COMMANDS = {"upload": _upload, "workload": _workload, "status": _status, "logs": _logs, "verify": _verify}


def _kept(error: Exception) -> str:
    """Write the traceback to a file of its own; returns where, for the end of a sentence."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="smart-classroom-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return ""
    return f", details are in {name}"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 86_400:
        raise argparse.ArgumentTypeError(f"{text} s: more than 0, less than a day")
    return value


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
