"""The service as a whole: starts the loops, watches over them, and stops them in order."""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path

from .clients import Clients, open_clients
from .config import Config, queue_arn
from .input_loop import InputLoop
from .invocation import Function
from .leases import LeasedQueue
from .logs import describe, failure
from .loop import Loop
from .notify import Notifier
from .output_loop import OutputLoop
from .results import ResultStore
from .status import TICK_SECONDS, Status

LOG = logging.getLogger(__name__)

# The longest that one round may take with every call in it at its time limit. A loop silent for longer hangs.
STALL_SECONDS = 150
# Metrics are read four times a minute at most, and their file lies on a disk.
METRICS_SECONDS = 5
# Between two attempts to open the results directory.
OPEN_SECONDS = 5


class Renewal:
    """Renews the leases of a queue, every third of their time, until `ended`."""

    def __init__(self, name: str, messages: LeasedQueue, seconds: float, ended: threading.Event) -> None:
        self._name = name
        self._messages = messages
        self._seconds = seconds
        self._ended = ended
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"renewal-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._beat = time.monotonic()
        self._thread.start()

    def fault(self, stall_seconds: float) -> str | None:
        """Why leases are not renewed although they should be; None when all is well."""
        if self._thread.ident is None or self._ended.is_set():
            return None
        if not self._thread.is_alive():
            return f"the renewal of the {self._name} queue has died"
        if time.monotonic() - self._beat > stall_seconds + self._seconds / 3:
            return f"the renewal of the {self._name} queue hangs"
        return None

    def _run(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            try:
                self._messages.extend()
            except Exception as error:
                LOG.error("leases could not be renewed, another attempt follows", extra=failure(error))
            self._beat = time.monotonic()


class Service:
    """Both loops, the renewal of their leases, the status file and the dialogue with systemd."""

    def __init__(
        self, config: Config, clients: Clients, notifier: Notifier, stop: threading.Event, status: Status
    ) -> None:
        self._config = config
        self._notifier = notifier
        self._stop = stop
        self._ended = threading.Event()
        self.status = status
        self._store = ResultStore(config.results_dir)
        uploads, answers = (
            LeasedQueue(clients.receiver, clients.sqs, url, config.visibility_seconds)
            for url in (config.input_queue_url, config.output_queue_url)
        )
        self._leased = {"input": uploads, "output": answers}
        self._metrics_due = 0.0
        self._renewals = [
            Renewal(name, messages, config.visibility_seconds, self._ended) for name, messages in self._leased.items()
        ]
        function = Function(
            clients.function, config.function_name, queue_arn(config.input_queue_url, config.region), config.region
        )
        self._input = InputLoop(config, uploads, function, self.status, stop)
        self._output = OutputLoop(config, answers, self._store, self.status, stop)
        self._loops: tuple[Loop, ...] = (self._input, self._output)
        self._parts: tuple[Loop | Renewal, ...] = (*self._renewals, *self._loops)

    def run(self) -> bool:
        """Serve until the stop, then drain. False when work was left running at the end of the drain."""
        self.status.metrics.restore(self._config.metrics_file)
        self._open_store()
        if self._stop.is_set():
            return self._drain()
        for part in self._parts:
            part.start()
        self.status.state("running")
        self._write_status()
        self._notifier.ready()
        LOG.info(
            "ready", extra={"fields": {"function": self._config.function_name, "concurrency": self._config.concurrency}}
        )
        while not self._stop.is_set():
            self._tick()
            self._stop.wait(TICK_SECONDS)
        return self._drain()

    def _open_store(self) -> None:
        """A disk that refuses now may take results later; only then are they asked for."""
        while not self._stop.is_set():
            try:
                self._store.open()
            except Exception as error:
                LOG.error("the results directory cannot be opened", extra=failure(error))
                self.status.problem("disk", f"the results directory cannot be opened: {describe(error)}")
                self._tick()
                self._stop.wait(OPEN_SECONDS)
            else:
                self.status.problem("disk", None)
                return

    def _drain(self) -> bool:
        self._notifier.stopping()
        self.status.state("draining")
        self._write_status()
        LOG.info("draining", extra={"fields": {"seconds": self._config.drain_seconds}})
        deadline = time.monotonic() + self._config.drain_seconds
        # The receivers first: their last long poll may still bring messages, which go straight back.
        ended = [loop.join(deadline - time.monotonic()) for loop in self._loops]
        ended.append(self._input.drain(deadline))
        self._ended.set()
        if all(ended):
            LOG.info("stopped")
        else:
            LOG.warning("stopped with work unfinished; its messages come back by themselves")
        self._write_status(ended=True)
        return all(ended)

    def _tick(self) -> None:
        try:
            self._show_life()
        except Exception as error:
            LOG.error("the state of the service could not be shown", extra=failure(error))
        self._write_status()

    def _show_life(self) -> None:
        faults = [fault for part in self._parts if (fault := part.fault(STALL_SECONDS))]
        if faults:
            LOG.critical("the watchdog will restart the service", extra={"fields": {"faults": faults}})
        else:
            self._notifier.alive()
        self._notifier.status(self.status.line())

    def _write_status(self, *, ended: bool = False) -> None:
        try:
            self.status.write(self._config.state_file)
        except Exception as error:
            LOG.warning("the status file cannot be written", extra=failure(error))
        if not ended and time.monotonic() < self._metrics_due:
            return
        self._metrics_due = time.monotonic() + METRICS_SECONDS
        try:
            leases = {name: messages.held() for name, messages in self._leased.items()}
            self.status.write_metrics(self._config.metrics_file, leases, ended=ended)
        except Exception as error:
            LOG.warning("the metrics cannot be written", extra=failure(error))


def run_service(config: Config, credentials: Path, notifier: Notifier, runs_with: str = "") -> bool:
    """Run until SIGTERM or SIGINT; `runs_with` is shown in the status.

    Raises:
        ConfigError: the credentials cannot be used.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return Service(config, open_clients(config, credentials), notifier, stop, Status(runs_with)).run()
