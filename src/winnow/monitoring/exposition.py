"""Read what replicas publish as Prometheus metrics, and what they have counted between two looks. Pure.

Replicas count from their start, so a window is what each has counted now less what it had counted at the look before.
A replica that started anew in between counts from 0 again. One that has ended keeps what was seen of it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, structs

from winnow.bundle.profile import ColumnCounts, ColumnProfile, Profile
from winnow.monitoring.live import LiveCounts
from winnow.serving.metrics import BUCKETS_S, PREDICTING_ROUTES

_LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_COUNTED = re.compile(r"winnow_(feature|output)_(values|above|below|squares)_total")
SERIES = (
    "winnow_model_info|process_start_time_seconds|winnow_counted_rows_total|winnow_requests_total"
    f"|winnow_request_duration_seconds_bucket|{_COUNTED.pattern}"
)
"""The names of the metrics that are read, as a regular expression."""
_SERIES = re.compile(f"(?:{SERIES})[ {{]")


class ReplicaCounts(Struct, frozen=True):
    """What one replica has counted since its start.

    Attributes:
        started: in seconds since the epoch; 0 where it does not say.
        counts: from `started` to `until`. Bins are as many as it publishes.
    """

    started: float
    counts: LiveCounts


def replica_counts(text: str, at: float) -> ReplicaCounts:
    """Read the metrics of one replica.

    Args:
        text: in Prometheus' text format.
        at: when it was read, in seconds since the epoch.

    Raises:
        ValueError: it names no model: something else answered.
    """
    found = [_parsed(line) for line in text.splitlines() if _SERIES.match(line)]
    info = next((labels for name, labels, _ in found if name == "winnow_model_info"), None)
    if info is None:
        raise ValueError("no metrics of a model")
    started = next((value for name, _, value in found if name == "process_start_time_seconds"), 0.0)
    requests = [
        (labels, value)
        for name, labels, value in found
        if name == "winnow_requests_total" and labels.get("route") in PREDICTING_ROUTES
    ]
    counts = LiveCounts(
        model=info.get("name", ""),
        version=info.get("version", ""),
        digest=info.get("digest", ""),
        since=started or at,
        until=at,
        rows=round(sum(value for name, _, value in found if name == "winnow_counted_rows_total")),
        columns=_distributions(found, "feature", "column"),
        outputs=_distributions(found, "output", "output"),
        requests=round(sum(value for _, value in requests)),
        errors=round(sum(value for labels, value in requests if labels.get("status", "").startswith("5"))),
        latency=_latency(found),
        replicas=1,
    )
    return ReplicaCounts(started, counts)


def counted_since(earlier: Mapping[str, ReplicaCounts], later: Mapping[str, ReplicaCounts]) -> dict[str, LiveCounts]:
    """What replicas have counted between two looks, by the digest of their model.

    Args:
        earlier: of the look before; of a replica that it lacks everything counts.
    """
    found: dict[str, LiveCounts] = {}
    for identifier, replica in later.items():
        before = earlier.get(identifier)
        new = replica.counts if before is None or _is_new(before, replica) else between(before.counts, replica.counts)
        known = found.get(new.digest)
        found[new.digest] = new if known is None else together(known, new)
    return found


def together(one: LiveCounts, other: LiveCounts) -> LiveCounts:
    """The counts of two replicas, or of two windows of one version."""
    return _combined(one, other, 1, min(one.since, other.since), max(one.until, other.until))


def between(earlier: LiveCounts, later: LiveCounts) -> LiveCounts:
    """What was counted since `earlier`, of two sums over the same replicas. The window begins where `earlier` ends."""
    return _combined(later, earlier, -1, earlier.until, later.until)


def nothing(like: LiveCounts, at: float) -> LiveCounts:
    """No counts of the same version, until a time."""
    return LiveCounts(like.model, like.version, like.digest, at, at, 0, {}, {})


def _is_new(before: ReplicaCounts, now: ReplicaCounts) -> bool:
    """Whether a replica of the same identifier has started anew."""
    is_less = now.counts.rows < before.counts.rows or now.counts.requests < before.counts.requests
    return is_less or now.started > before.started + 1.0 or now.counts.digest != before.counts.digest


def _combined(one: LiveCounts, other: LiveCounts, sign: int, since: float, until: float) -> LiveCounts:
    return LiveCounts(
        model=one.model,
        version=one.version,
        digest=one.digest,
        since=since,
        until=until,
        rows=one.rows + sign * other.rows,
        columns=_summed(one.columns, other.columns, sign),
        outputs=_summed(one.outputs, other.outputs, sign),
        requests=one.requests + sign * other.requests,
        errors=one.errors + sign * other.errors,
        latency=_added(one.latency, other.latency, sign),
        replicas=one.replicas + other.replicas if sign > 0 else one.replicas,
    )


def _summed(one: Mapping[str, ColumnCounts], other: Mapping[str, ColumnCounts], sign: int) -> dict[str, ColumnCounts]:
    none, sums = ColumnCounts(()), {}
    for name in dict.fromkeys((*one, *other)):
        a, b = one.get(name, none), other.get(name, none)
        sums[name] = ColumnCounts(
            _added(a.bins, b.bins, sign),
            a.missing + sign * b.missing,
            a.unknown + sign * b.unknown,
            a.total + sign * b.total,
            a.square_total + sign * b.square_total,
        )
    return sums


def _added(one: Sequence[int], other: Sequence[int], sign: int) -> tuple[int, ...]:
    return tuple(a + sign * b for a, b in itertools.zip_longest(one, other, fillvalue=0))


def series_text(name: str, labels: Mapping[str, str]) -> str:
    """A series as the text format has it: `name{label="value"}`."""
    escaped = {key: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, text in labels.items()}
    quoted = ",".join(f'{key}="{text}"' for key, text in escaped.items())
    return f"{name}{{{quoted}}}"


Parsed = tuple[str, dict[str, str], float]


def _parsed(line: str) -> Parsed:
    """Name, labels and value of a line."""
    found = _LINE.match(line)
    assert found is not None
    name, labels, value = found[1], found[2], found[3]

    def unescaped(text: str) -> str:
        return _ESCAPED.sub(lambda each: "\n" if each[1] == "n" else each[1], text) if "\\" in text else text

    return name, {key: unescaped(text) for key, text in _LABEL.findall(labels or "")}, float(value)


def _distributions(found: Iterable[Parsed], kind: str, label: str) -> dict[str, ColumnCounts]:
    """The counts of features or outputs by name."""
    bins: dict[str, dict[str, int]] = {}
    sums: dict[tuple[str, str], float] = {}
    for name, labels, value in found:
        series = _COUNTED.fullmatch(name)
        if series is None or series[1] != kind:
            continue
        if series[2] == "values":
            bins.setdefault(labels[label], {})[labels["bin"]] = round(value)
        else:
            sums[labels[label], series[2]] = value
    return {
        name: ColumnCounts(
            _bins(counts),
            counts.get("missing", 0),
            counts.get("unknown", 0),
            sums.get((name, "above"), 0.0) - sums.get((name, "below"), 0.0),
            sums.get((name, "squares"), 0.0),
        )
        for name, counts in bins.items()
    }


def _bins(counts: Mapping[str, int]) -> tuple[int, ...]:
    numbered = {int(name): count for name, count in counts.items() if name.isdecimal()}
    return tuple(numbered.get(index, 0) for index in range(max(numbered, default=-1) + 1))


def _latency(found: Iterable[Parsed]) -> tuple[int, ...]:
    """Requests for predictions in each class of `BUCKETS_S`, and slower ones; Prometheus' buckets are cumulative."""
    up_to: dict[float, int] = {}
    for name, labels, value in found:
        if name == "winnow_request_duration_seconds_bucket" and labels.get("route") in PREDICTING_ROUTES:
            bound = float(labels["le"])
            up_to[bound] = up_to.get(bound, 0) + round(value)
    sums = [0, *(up_to.get(bound, 0) for bound in (*BUCKETS_S, float("inf")))]
    return tuple(high - low for low, high in itertools.pairwise(sums))


def in_bins_of(profile: Profile, live: LiveCounts) -> LiveCounts:
    """The counts of the profile's columns and outputs alone, with as many bins; 0 where nothing was counted."""

    def fitted(of: Iterable[ColumnProfile], counts: Mapping[str, ColumnCounts]) -> dict[str, ColumnCounts]:
        found = ((each, counts.get(each.name, ColumnCounts(()))) for each in of)
        return {
            each.name: structs.replace(known, bins=_added(known.bins, (0,) * len(each.counts.bins), 1))
            for each, known in found
        }

    columns, outputs = fitted(profile.columns, live.columns), fitted(profile.outputs, live.outputs)
    return structs.replace(live, columns=columns, outputs=outputs)
