"""When a person in a clip is said to be a student: the limits, and what they were chosen for.

All distances are Euclidean, between encodings of 128 numbers. The limits were calibrated on the encodings of thousands
of people (docs/recognition.md, "How right it is, and for whom"); `make evaluate` measures what they do.
"""

from __future__ import annotations

from dataclasses import dataclass

from classroom_contract.results import Confidence

__all__ = ["Confidence", "Limits", "Rule"]


@dataclass(frozen=True)
class Limits:
    """What is asked of a match: `distance` and `relative` at most these, `margin` to the runner-up at least this."""

    distance: float
    margin: float
    relative: float

    def hold(self, distance: float, margin: float, relative: float) -> bool:
        """Tells whether a match with these figures is within the limits."""
        return distance <= self.distance and margin >= self.margin and relative <= self.relative


@dataclass(frozen=True)
class Rule:
    """Who is named, who is one person in several looks, and who is certainly nobody enrolled.

    `sure` names less than 1 of 1,000 strangers in a class of 30, `probable` less than 1 of 100. Sightings up to
    `same_person` apart are one person; `same_place` more where the faces overlap in the picture and are at most
    `same_place_seconds` apart. A stranger is certain when a distance smaller by `certain` would change nothing: twice
    what averaging eight sightings instead of one was seen to do.
    """

    sure: Limits = Limits(distance=0.55, margin=0.14, relative=-0.02)
    probable: Limits = Limits(distance=0.60, margin=0.10, relative=0.035)
    same_person: float = 0.45
    same_place: float = 0.07
    same_place_seconds: float = 12.0
    certain: float = 0.05

    def confidence(self, distance: float, margin: float, relative: float) -> Confidence | None:
        """Returns how sure a match is; nothing when it names nobody."""
        if self.sure.hold(distance, margin, relative):
            return Confidence.SURE
        return Confidence.PROBABLE if self.probable.hold(distance, margin, relative) else None

    def rules_out(self, distance: float, relative: float) -> bool:
        """Tells whether a match is so far from being probable that more looks will not change it."""
        return distance - self.certain > self.probable.distance or relative - self.certain > self.probable.relative
