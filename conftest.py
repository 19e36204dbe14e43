"""For all tests: botocore reads the description of a service once, and no example has a time limit."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import botocore.session
import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def shared_service_descriptions() -> Iterator[None]:
    """They are megabytes of JSON, and each test that starts with an empty account makes new sessions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))
        yield
