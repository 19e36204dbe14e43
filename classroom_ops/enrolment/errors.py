"""What can be wrong with an enrolment."""

from __future__ import annotations

from collections.abc import Sequence

from classroom_ops.errors import OpsError


class EnrolmentError(OpsError):
    """Something has to be corrected before anybody is enrolled; `problems` has one line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class ConflictError(EnrolmentError):
    """Somebody else has written meanwhile what this was about to write."""

    def __init__(self) -> None:
        super().__init__(["others enroll or remove students at the same time: run the same command again"])
