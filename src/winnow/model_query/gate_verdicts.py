"""What the evidence says about each gate."""

from __future__ import annotations

from collections.abc import Sequence

from winnow.finding import Finding, Result
from winnow.model_query.evidence import Evidence
from winnow.model_query.gates import Gate


def judge(gates: Sequence[Gate], evidence: Evidence, place: str) -> tuple[Finding, ...]:  # noqa: ARG001  (no test yet)
    """One finding per gate, in their order. The version is promoted where all results are `pass`.

    Args:
        place: of the gates, for errors: `rules.yaml: gates.production`.

    Raises:
        InputError: a gate names a metric, column, function or file that does not exist or does not fit, or the
            champion has another signature. Nothing is judged then.
    """
    return tuple(_unjudged(gate) for gate in gates)


def _unjudged(gate: Gate) -> Finding:
    return Finding(str(gate), None, (None, None), 0, 0.0, "", Result.NOT_ENOUGH_DATA, "this gate cannot be judged yet")
