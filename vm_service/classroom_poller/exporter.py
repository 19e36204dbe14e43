"""Measures what the poller works with (queues, dead letters, the function, the clock, certificates) for Prometheus.

A process of its own, so that a backlog is seen when the poller stands still. It asks with the poller's key, which may
read queue attributes and CloudWatch's statistics, and writes a file for the node exporter; no port is opened.
"""

from __future__ import annotations

import logging
import math
import signal
import socket
import ssl
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from .clients import open_session
from .config import ConfigError
from .logs import failure
from .metrics import Family, Metrics

LOG = logging.getLogger(__name__)
DEFAULT_SETTINGS = Path("/etc/classroom-monitoring/exporter.toml")

# CloudWatch's figures of a function come by the minute, one to three minutes late.
WINDOW_SECONDS = 300
_CALL_SECONDS = 10
_REFUSED = (401, 403)

_QUEUE_STATES = {
    "waiting": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}
MESSAGES = "smart_classroom_queue_messages"
OLDEST = "smart_classroom_queue_oldest_message_seconds"
DEAD_LETTERS = "smart_classroom_dead_letters"
CALLS = "smart_classroom_function_calls"
DURATION = "smart_classroom_function_duration_seconds"
CLOCK = "smart_classroom_clock_offset_seconds"
CERTIFICATE = "smart_classroom_certificate_expiry_timestamp_seconds"
ANSWERED = "smart_classroom_exporter_last_answer_timestamp_seconds"
_CALLS_OF = {"all": "Invocations", "error": "Errors", "throttled": "Throttles"}


@dataclass(frozen=True)
class Settings:
    """What to measure. `queues` and `dead_letter_queues` are URLs, `certificates` are ``host:port`` of TLS servers."""

    region: str
    function_name: str
    queues: tuple[str, ...]
    dead_letter_queues: tuple[str, ...]
    # Empty means AWS itself.
    endpoint_url: str = ""
    certificates: tuple[str, ...] = ()
    # Beside the system's own authorities, for a server whose certificate none of them signed.
    certificate_authorities: str = ""
    interval_seconds: int = 60
    output: Path = Path("/var/cache/classroom-monitoring/aws.prom")


def load_settings(path: Path) -> Settings:
    """Read the settings in `path`.

    Raises:
        ConfigError: they cannot be read, or do not fit.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings {path} cannot be read: {error}") from error
    known = {field.name: field for field in fields(Settings)}
    faults = [f"{name} is no setting" for name in values if name not in known]
    faults += [f"{name} is missing" for name, field in known.items() if field.default is MISSING and name not in values]
    lists = ("queues", "dead_letter_queues", "certificates")
    faults += [f"{name} must be a list" for name in lists if not isinstance(values.get(name, []), list)]
    if not isinstance(values.get("interval_seconds", 60), int) or not 1 <= values.get("interval_seconds", 60) <= 3600:
        faults.append("interval_seconds must be a whole number from 1 to 3600")
    if faults:
        raise ConfigError(f"the settings {path} cannot be used: " + "; ".join(faults))
    values |= {name: tuple(values[name]) for name in lists if name in values}
    if "output" in values:
        values["output"] = Path(values["output"])
    return Settings(**values)


def queue_name(url: str) -> str:
    """Name of a queue, the last part of its URL."""
    return url.rstrip("/").rpartition("/")[2]


def families(settings: Settings) -> list[tuple[Family, tuple[str, ...]]]:
    """Every metric that is written, with the labels of its series."""
    queues = [queue_name(url) for url in settings.queues]
    dead = [queue_name(url) for url in settings.dead_letter_queues]
    recent = f"in the last {WINDOW_SECONDS} s that CloudWatch knows"
    listed = [
        (
            MESSAGES,
            "Messages of a queue, as SQS counts them: approximately.",
            tuple(f'queue="{name}",state="{state}"' for name in queues for state in _QUEUE_STATES),
        ),
        (
            OLDEST,
            "Age of the oldest message; where CloudWatch does not know it, how long the queue has not been empty.",
            tuple(f'queue="{name}"' for name in queues),
        ),
        (DEAD_LETTERS, "Messages that were given up.", tuple(f'queue="{name}"' for name in dead)),
        (CALLS, f"Calls of the function {recent}.", tuple(f'result="{name}"' for name in _CALLS_OF)),
        (DURATION, f"How long they took, {recent}.", ('statistic="average"', 'statistic="maximum"')),
        (CLOCK, "This machine's clock minus AWS's.", ()),
        (
            CERTIFICATE,
            "When a server's certificate ends; 0 when it is not valid now.",
            tuple(f'server="{name}"' for name in settings.certificates),
        ),
        (
            ANSWERED,
            "When this source last answered everything.",
            tuple(f'source="{name}"' for name in ("sqs", "cloudwatch", "tls")),
        ),
    ]
    return [(Family(name, "gauge", text), labels) for name, text, labels in listed if labels or name == CLOCK]


class Exporter:
    """Asks all sources and keeps what they said. `clients` are those of SQS and CloudWatch."""

    def __init__(
        self, settings: Settings, sqs: Any, cloudwatch: Any, expiry: Callable[[str], float] | None = None
    ) -> None:
        self._settings = settings
        self._sqs = sqs
        self._cloudwatch = cloudwatch
        self._expiry = expiry or (lambda server: certificate_expiry(server, settings.certificate_authorities))
        self._empty_at: dict[str, float] = {}
        self.metrics = Metrics(families(settings))

    def measure(self, now: float) -> bool:
        """Ask everything; False when AWS refuses the key, so that another one may be in the file by now.

        A source that does not answer makes its values NaN, which no alert takes for a good one.
        """
        accepted = True
        sources: tuple[tuple[str, Callable[[float], None]], ...] = (
            ("sqs", self._ask_queues),
            ("cloudwatch", self._ask_function),
            ("tls", self._ask_certificates),
        )
        for name, ask in sources:
            try:
                ask(now)
            except (BotoCoreError, ClientError, OSError, ValueError, KeyError) as error:
                LOG.warning("a source does not answer", extra=failure(error, source=name))
                if isinstance(error, ClientError):
                    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                    accepted = accepted and status not in _REFUSED
                self._forget(name)
            else:
                self.metrics.set(ANSWERED, now, f'source="{name}"')
        return accepted

    def _forget(self, source: str) -> None:
        names = {"sqs": (MESSAGES, OLDEST, DEAD_LETTERS, CLOCK), "cloudwatch": (CALLS, DURATION), "tls": (CERTIFICATE,)}
        for family, labels in families(self._settings):
            if family.name in names[source]:
                for label in labels or ("",):
                    self.metrics.set(family.name, math.nan, label)

    def _ask_queues(self, now: float) -> None:
        for url in self._settings.queues:
            counts = self._counts(url, now)
            name = queue_name(url)
            for state, count in counts.items():
                self.metrics.set(MESSAGES, count, f'queue="{name}",state="{state}"')
            if not sum(counts.values()) or name not in self._empty_at:
                self._empty_at[name] = now
            self.metrics.set(OLDEST, self._age(name, now), f'queue="{name}"')
        for url in self._settings.dead_letter_queues:
            self.metrics.set(DEAD_LETTERS, sum(self._counts(url, now).values()), f'queue="{queue_name(url)}"')

    def _counts(self, url: str, now: float) -> dict[str, int]:
        answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_QUEUE_STATES.values()))
        told = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
        if told:
            # A header of whole seconds: what is less than one is no offset.
            offset = now - parsedate_to_datetime(told).timestamp()
            self.metrics.set(CLOCK, 0.0 if abs(offset) < 1 else offset)
        return {state: int(answer["Attributes"][name]) for state, name in _QUEUE_STATES.items()}

    def _age(self, name: str, now: float) -> float:
        """Seconds; an upper bound where nobody knows the age itself."""
        since = max(0.0, now - self._empty_at[name])
        # CloudWatch bills nothing for GetMetricStatistics up to a million calls a month, but an empty queue has no age.
        if since == 0 or self._settings.endpoint_url:
            return since
        try:
            newest = self._statistics("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": name}, "Maximum", now)
        except (BotoCoreError, ClientError) as error:
            LOG.warning("CloudWatch does not say how old the messages are", extra=failure(error))
            return since
        return max((point["Maximum"] for point in newest[-1:]), default=since)

    def _ask_function(self, now: float) -> None:
        named = {"FunctionName": self._settings.function_name}
        for label, metric in _CALLS_OF.items():
            points = self._statistics("AWS/Lambda", metric, named, "Sum", now)
            self.metrics.set(CALLS, sum(point["Sum"] for point in points), f'result="{label}"')
        points = self._statistics("AWS/Lambda", "Duration", named, "Average", now, "Maximum", "SampleCount")
        count = sum(point["SampleCount"] for point in points)
        total = sum(point["Average"] * point["SampleCount"] for point in points)
        self.metrics.set(DURATION, total / count / 1000 if count else math.nan, 'statistic="average"')
        longest = max((point["Maximum"] for point in points), default=math.nan)
        self.metrics.set(DURATION, longest / 1000, 'statistic="maximum"')

    def _statistics(
        self, namespace: str, metric: str, dimensions: Mapping[str, str], statistic: str, now: float, *more: str
    ) -> list[dict[str, Any]]:
        """Points of a minute each, the oldest first."""
        end = datetime.fromtimestamp(now, UTC)
        answer = self._cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            StartTime=end - timedelta(seconds=WINDOW_SECONDS),
            EndTime=end,
            Period=60,
            Statistics=[statistic, *more],
        )
        return sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])

    def _ask_certificates(self, _: float) -> None:
        for server in self._settings.certificates:
            self.metrics.set(CERTIFICATE, self._expiry(server), f'server="{server}"')


def certificate_expiry(server: str, authorities: str = "") -> float:
    """When the certificate of `server` (``host:port``) ends, in seconds since 1970; 0 when it is not valid now.

    Raises:
        OSError: the server cannot be reached.
    """
    host, _, port = server.rpartition(":")
    context = ssl.create_default_context()
    if authorities:
        context.load_verify_locations(authorities)
    try:
        with (
            socket.create_connection((host, int(port)), timeout=_CALL_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        LOG.warning("a certificate is not valid", extra=failure(error, server=server))
        return 0.0
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


def run_exporter(settings: Settings, credentials: Path) -> int:
    """Measure every `interval_seconds` until SIGTERM; returns the exit code.

    1 when AWS refuses the key: the unit starts it again, with the key that is in the file then.

    Raises:
        ConfigError: the credentials cannot be used.
    """
    session = open_session(credentials)

    def client(service: str) -> Any:
        return session.create_client(
            service,
            region_name=settings.region,
            endpoint_url=settings.endpoint_url or None,
            config=ClientConfig(
                connect_timeout=_CALL_SECONDS, read_timeout=_CALL_SECONDS, retries={"mode": "standard"}
            ),
        )

    exporter = Exporter(settings, client("sqs"), client("cloudwatch"))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        accepted = exporter.measure(time.time())
        try:
            exporter.metrics.write(settings.output)
        except OSError as error:
            LOG.warning("the metrics cannot be written", extra=failure(error))
        if not accepted:
            return 1
        stop.wait(settings.interval_seconds)
    return 0
