"""What the function, the poller, the operator's commands and the portal agree on, each in one place.

Pure standard library: the function's image and the poller's archive carry a copy of it.

- ``keys``: which objects answer a video, and which known encodings it is compared with
- ``results``: the statuses and the result's JSON (schema 2, schema 1 is still read)
- ``notification``: the message about a result (schema 2, schema 1 is still read)
- ``gallery``: the file of known encodings and its version
- ``tables``: the result's CSV
- ``roster``: the list of students, and when two names are the same

Whatever is not as agreed raises :class:`ContractError`, whose text says what is wrong and holds no name of a student.
"""

from __future__ import annotations

from .fields import ContractError

__all__ = ["ContractError"]
