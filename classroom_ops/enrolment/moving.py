"""Known encodings that lie in the bucket of results, where they were kept until 2026, come into their own bucket.

Two steps, because the function of before reads the earlier place until it is replaced: `take_over` copies, and
`remove`, afterwards, deletes what was copied with all its versions.
"""

from __future__ import annotations

from typing import Any

from classroom_ops.enrolment.errors import EnrolmentError
from classroom_ops.enrolment.store import Changes, Known, Samples, Store, repeated

FOLDER = ".gallery/"
KNOWN_KEY, SAMPLES_KEY = f"{FOLDER}known-encodings.json", f"{FOLDER}samples.json"


def take_over(store: Store, bucket: str) -> list[str] | None:
    """Copy what is in the earlier place of `bucket` and not yet in `store`; returns the names that came, or nothing.

    Whoever is in both stays as in `store`. Of those who are in the earlier place alone, who has no record was removed
    since, unless nobody has been taken over yet.

    Raises:
        EnrolmentError: what is there is damaged; nothing was changed.
    """
    return repeated(lambda: _take_over(store, bucket))


def _take_over(store: Store, bucket: str) -> list[str] | None:
    former = store.known_in(bucket, KNOWN_KEY)
    if not former.etag:
        return None
    known = store.known()
    coming = _coming(store, former, known)
    changes = Changes(
        known=Known({**known.students, **{name: former.students[name] for name in coming}}, known.sources, known.etag)
    )
    if not known.etag:
        changes = Changes(known=Known(dict(former.students), former.sources), samples=_samples(store, bucket))
    if known.etag and not coming:
        return None
    store.apply(changes)
    return coming


def _coming(store: Store, former: Known, known: Known) -> list[str]:
    new = sorted(former.students.keys() - known.students.keys())
    if not (new and known.etag):
        return new
    records = store.records()
    return [name for name in new if name in records]


def _samples(store: Store, bucket: str) -> Samples | None:
    """The account of samples, unless there is none, or a new one already."""
    former = store.samples_in(bucket, SAMPLES_KEY)
    if not former.etag or store.samples().etag:
        return None
    return Samples(former.enrolled, former.replaced)


def remove(store: Store, s3: Any, bucket: str) -> bool:
    """Delete what was taken over from `bucket`, with all versions, for it names people; returns whether any was there.

    Raises:
        EnrolmentError: somebody is there who is not in `store`; nothing was deleted.
    """
    former = store.known_in(bucket, KNOWN_KEY)
    if former.etag and (left := _coming(store, former, store.known())):
        raise EnrolmentError([f"{len(left)} students are only in s3://{bucket}/{KNOWN_KEY}: run make up again"])
    found = [
        {"Key": one["Key"], "VersionId": one["VersionId"]}
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=FOLDER)
        for one in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
    ]
    for one in found:
        s3.delete_object(Bucket=bucket, **one)
    return bool(found)
