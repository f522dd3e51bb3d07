"""What each gate says, and how often it is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from tests.unit.model_query.versions import classifier, manifest, pair
from tests.unit.serving import bundles
from winnow.config.errors import InputError
from winnow.finding import Finding, Result
from winnow.model_query.evidence import Answers, Evidence
from winnow.model_query.gate_verdicts import judge
from winnow.model_query.gates import Gate
from winnow.serving.predictor import Predictor

GATE: TypeAdapter[Gate] = TypeAdapter(Gate)
NO_EVIDENCE = Evidence("nothing", None, np.empty(0, np.int64), classifier(np.empty(0, bool), np.empty(0, np.int64)))


def found(evidence: Evidence, **gate: Any) -> Finding:
    return judge([GATE.validate_python(gate)], evidence, "rules.yaml: gates.production")[0]


def test_two_points_better_on_five_thousand_rows_is_promoted_and_two_points_worse_refused() -> None:
    better, worse = pair(5000, 0.85, 0.06, 0.04), pair(5000, 0.85, 0.04, 0.06)
    gates = (
        {"type": "champion", "metric": "accuracy"},
        {"type": "champion", "metric": "f1"},
        {"type": "mcnemar"},
    )
    assert [found(better, **gate).result for gate in gates] == [Result.PASS] * 3
    assert [found(worse, **gate).result for gate in gates] == [Result.FAIL] * 3


def test_a_metric_passes_by_its_bound_fails_by_its_estimate_and_says_what_would_do_otherwise() -> None:
    evidence = pair(1000, 0.86, 0.03, 0.03)
    gates = [{"type": "metric", "metric": "accuracy", "min": least} for least in (0.88, 0.89, 0.91)]
    findings = [found(evidence, **gate) for gate in gates]
    assert [each.result for each in findings] == [Result.PASS, Result.NOT_ENOUGH_DATA, Result.FAIL]
    assert findings[1].reason == (
        "accuracy is 0.902 (0.886 to 0.9175) on 1000 rows; at least 0.89 is demanded, and not shown: "
        "about 1,800 rows would do"
    )


def test_without_confidence_the_estimate_is_compared() -> None:
    evidence = pair(20, 1.0, 0.0, 0.0)
    assert found(evidence, type="metric", metric="accuracy", min=1.0, confidence=None).result is Result.PASS
    assert found(evidence, type="metric", metric="accuracy", min=0.5).result is Result.NOT_ENOUGH_DATA


def test_rows_that_are_all_right_show_no_more_than_the_exact_bound() -> None:
    evidence = pair(100, 1.0, 0.0, 0.0)  # 0.05 ** (1 / 100) = 0.9705
    assert found(evidence, type="metric", metric="accuracy", min=0.98).result is Result.NOT_ENOUGH_DATA
    assert found(evidence, type="metric", metric="accuracy", min=0.965).result is Result.PASS
    assert found(evidence, type="metric", metric="auroc", min=0.995).result is Result.NOT_ENOUGH_DATA


def test_without_a_champion_comparing_gates_do_not_apply_and_pass() -> None:
    evidence = replace(pair(5000, 0.9, 0.0, 0.0), champion=None, is_unseen=None)
    for gate in (
        {"type": "champion", "metric": "f1"},
        {"type": "mcnemar"},
        {"type": "cross_validation", "metric": "f1"},
    ):
        finding = found(evidence, **gate)
        assert (finding.result, finding.rule) == (Result.PASS, "not applicable")
        assert finding.reason == "not applicable: no other version is champion"


def test_rows_that_the_champion_was_trained_on_are_left_out() -> None:
    evidence = pair(2000, 0.8, 0.1, 0.1)
    is_unseen = np.arange(2000) < 1000
    target, own = evidence.target, evidence.candidate
    assert evidence.champion is not None
    remembered = np.where(is_unseen, evidence.champion.outputs.argmax(1) == target, True)
    seen = replace(evidence, champion=classifier(remembered, target, "1"), is_unseen=is_unseen)
    clean = replace(
        evidence,
        rows=evidence.rows[is_unseen],
        target=target[is_unseen],
        candidate=replace(own, outputs=own.outputs[is_unseen]),
        champion=replace(evidence.champion, outputs=evidence.champion.outputs[is_unseen]),
        is_unseen=np.ones(1000, dtype=bool),
    )
    for gate in ({"type": "champion", "metric": "f1"}, {"type": "mcnemar"}):
        assert found(seen, **gate) == found(clean, **gate)


def test_where_it_is_not_known_what_the_champion_was_trained_on_nothing_is_shown() -> None:
    evidence = replace(pair(2000, 0.8, 0.15, 0.05), is_unseen=None, missing="version 1 has no row digests")
    finding = found(evidence, type="champion", metric="f1")
    assert (finding.result, finding.reason) == (Result.NOT_ENOUGH_DATA, "version 1 has no row digests")
    every = replace(evidence, is_unseen=np.zeros(2000, dtype=bool))
    assert "was trained on all 2000 rows of rows.parquet" in found(every, type="mcnemar").reason


def test_without_rows_every_gate_on_rows_lacks_data(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text("def value(rows, predictions): return 1.0\n")
    evidence = replace(NO_EVIDENCE, missing="the study has no holdout")
    for gate in (
        {"type": "metric", "metric": "f1", "min": 0.5},
        {"type": "fairness", "metric": "f1", "column": "sex", "max_difference": 0.1},
        {"type": "business", "function": f"{tmp_path / 'checks.py'}:value", "min": 0},
        {"type": "tests", "file": str(tmp_path / "checks.py")},
    ):
        finding = found(evidence, **gate)
        assert (finding.result, finding.reason) == (Result.NOT_ENOUGH_DATA, "the study has no holdout")


def test_relative_margins_are_shares_of_the_champions_value() -> None:
    evidence = pair(20_000, 0.4, 0.12, 0.1)  # about 0.52 against 0.49
    gate = {"type": "champion", "metric": "accuracy", "confidence": None}
    assert found(evidence, **gate, margin=0.04, scale="relative").result is Result.PASS
    assert found(evidence, **gate, margin=0.04, scale="absolute").result is Result.FAIL


def test_a_champion_with_its_classes_in_another_order_is_compared_by_their_names() -> None:
    evidence = pair(3000, 0.85, 0.06, 0.04)
    assert evidence.champion is not None
    champion = evidence.champion
    turned = replace(champion, outputs=champion.outputs[:, ::-1], manifest=manifest(("yes", "no")))
    gate = {"type": "champion", "metric": "f1"}
    assert found(replace(evidence, champion=turned), **gate) == found(evidence, **gate)


def test_the_decision_threshold_decides_what_is_predicted() -> None:
    target = np.array([0, 1] * 50)
    outputs = np.column_stack([np.full(100, 0.7), np.where(target == 1, 0.3, 0.2)]).astype(np.float32)
    low = Answers("2", manifest(positive="yes", threshold=0.25), outputs)
    evidence = Evidence("rows.parquet", None, target, low)
    assert found(evidence, type="metric", metric="accuracy", min=0.9).estimate == 1.0


def test_minimized_metrics_are_better_where_they_are_lower() -> None:
    random = np.random.default_rng(0)
    target = random.normal(size=(2000, 1))
    near, far = (
        Answers(version, manifest(None), (target + spread * random.normal(size=(2000, 1))).astype(np.float32))
        for version, spread in (("2", 0.5), ("1", 0.6))
    )
    evidence = Evidence("rows.parquet", np.zeros((2000, 3)), target, near, far, np.ones(2000, dtype=bool))
    gate = {"type": "champion", "metric": "rmse", "margin": 0.05, "scale": "absolute"}
    assert found(evidence, **gate).result is Result.PASS
    swapped = replace(evidence, candidate=far, champion=near)
    assert found(swapped, **gate).result is Result.FAIL
    assert found(evidence, type="metric", metric="rmse", max=0.55).result is Result.PASS
    assert found(evidence, type="metric", metric="rmse", max=0.505).result is Result.NOT_ENOUGH_DATA


def test_a_metric_of_the_users_own_is_judged_and_needs_a_direction_to_compare(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def share(outputs, target):\n    return (outputs.argmax(1) == target).mean()\n")
    evidence, name = pair(300, 0.6, 0.3, 0.0), f"{file}:share"
    gate = {"type": "champion", "margin": 0.1, "scale": "absolute"}
    assert found(evidence, **gate, metric={"name": name, "goal": "maximize"}).result is Result.PASS
    assert found(evidence, type="metric", metric=name, min=0.8).result is Result.PASS
    with pytest.raises(InputError, match=r"\[0\]\.metric: expected a metric with a better direction"):
        found(evidence, **gate, metric=name)


def folds(**changes: Any) -> Evidence:
    own, other = np.array([0.9, 0.88, 0.91, 0.87, 0.9]), np.array([0.86, 0.85, 0.87, 0.84, 0.85])
    champion = Answers("1", manifest(), NO_EVIDENCE.candidate.outputs, {"f1": other}, (80, 20))
    candidate = Answers("2", manifest(), NO_EVIDENCE.candidate.outputs, {"f1": own}, (80, 20))
    return replace(NO_EVIDENCE, candidate=candidate, champion=replace(champion, **changes))


def test_folds_are_compared_where_both_versions_share_them() -> None:
    gate = {"type": "cross_validation", "metric": "f1"}
    assert found(folds(), **gate).result is Result.PASS
    assert found(folds(), **gate, margin=0.05, scale="absolute").result is Result.FAIL
    lacking = [
        folds(manifest=manifest(data_sha256="1" * 64)),
        folds(fold_rows=(90, 10)),
        folds(folds={"f1": np.array([0.8])}),
        folds(folds={}),
        replace(folds(fold_rows=(0, 0)), candidate=replace(folds().candidate, fold_rows=(0, 0))),
        folds(folds={"f1": np.array([0.89, 0.87, 0.9, 0.86, 0.89])}),
    ]
    assert [found(each, **gate).result for each in lacking] == [Result.NOT_ENOUGH_DATA] * 6


def test_latency_is_a_quantile_with_a_bound_from_59_answers_on() -> None:
    def timed(seconds: Any) -> Evidence:
        return replace(NO_EVIDENCE, candidate=replace(NO_EVIDENCE.candidate, latency_s=np.asarray(seconds)))

    gate = {"type": "latency", "max_ms": 5.0}
    steady = found(timed(np.full(200, 0.004)), **gate)
    assert (steady.result, steady.estimate, steady.n) == (Result.PASS, 4.0, 200)
    assert found(timed(np.full(200, 0.006)), **gate).result is Result.FAIL
    few = found(timed(np.full(50, 0.004)), **gate)
    assert (few.result, "at least 59 answers are needed" in few.reason) == (Result.NOT_ENOUGH_DATA, True)
    assert found(timed([]), **gate).reason == "no latency was measured"


def test_size_is_that_of_the_exported_model() -> None:
    sized = replace(NO_EVIDENCE, candidate=replace(NO_EVIDENCE.candidate, size_bytes=3 * 1024**2))
    results = [found(sized, type="size", max_mib=most).result for most in (4, 3, 2)]
    assert results == [Result.PASS, Result.PASS, Result.FAIL]
    assert found(NO_EVIDENCE, type="size", max_mib=1).result is Result.NOT_ENOUGH_DATA


def test_the_groups_of_a_column_may_differ_by_so_much() -> None:
    evidence = pair(4000, 0.9, 0.0, 0.0)
    is_female = (evidence.rows["sex"] == "f").to_numpy()
    random = np.random.default_rng(1)
    unequal = classifier(random.random(4000) < np.where(is_female, 0.95, 0.8), evidence.target)
    gate = {"type": "fairness", "metric": "accuracy", "column": "sex"}
    assert found(evidence, **gate, max_difference=0.05).result is Result.PASS
    unfair = found(replace(evidence, candidate=unequal), **gate, max_difference=0.05)
    assert unfair.result is Result.FAIL
    assert unfair.estimate == pytest.approx(0.15, abs=0.02)
    assert found(replace(evidence, candidate=unequal), **gate, min_ratio=0.8).result is Result.PASS
    assert found(replace(evidence, candidate=unequal), **gate, min_ratio=0.9).result is Result.FAIL


def test_a_small_group_is_said() -> None:
    evidence = pair(1000, 0.9, 0.0, 0.0)
    evidence.rows.loc[:11, "sex"] = None
    finding = found(evidence, type="fairness", metric="accuracy", column="sex", max_difference=0.1)
    assert (finding.result, finding.reason) == (
        Result.NOT_ENOUGH_DATA,
        "each group needs 30 rows: '(missing)' has 12",
    )


def test_a_rate_that_a_group_does_not_have_is_said() -> None:
    evidence = pair(400, 0.9, 0.0, 0.0)
    evidence.rows.loc[evidence.target == 0, "sex"] = "none is positive"
    finding = found(evidence, type="fairness", metric="true_positive_rate", column="sex", max_difference=0.1)
    assert finding.result is Result.NOT_ENOUGH_DATA
    assert "difference not defined for these 400 rows" in finding.reason


def test_rates_of_the_positive_class_are_fairlearns() -> None:
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate

    evidence = pair(500, 0.8, 0.0, 0.0)
    guesses = evidence.candidate.outputs.argmax(1)
    for own in (selection_rate, true_positive_rate, false_positive_rate):
        frame = MetricFrame(
            metrics=own, y_true=evidence.target, y_pred=guesses, sensitive_features=evidence.rows["sex"]
        )
        finding = found(evidence, type="fairness", metric=own.__name__, column="sex", max_difference=0.5)
        assert finding.estimate == pytest.approx(frame.difference())


PROFIT = """
def profit(rows, predictions):
    return float((rows.amount * (predictions == "yes")).sum())

def cost(rows, predictions):
    return float((predictions == "yes").sum())

def broken(rows, predictions):
    return rows.amout.sum()
"""


def test_a_business_number_is_judged_like_a_metric(tmp_path: Path) -> None:
    file = tmp_path / "value.py"
    file.write_text(PROFIT)
    evidence = pair(2000, 0.8, 0.1, 0.05)
    profit = {"type": "business", "function": f"{file}:profit"}
    assert [found(evidence, **profit, min=least).result for least in (400, 515, 600)] == [
        Result.PASS,
        Result.NOT_ENOUGH_DATA,
        Result.FAIL,
    ]
    always = replace(evidence, champion=replace(classifier(evidence.target == 1, evidence.target, "1")))
    cost = {"type": "business", "function": f"{file}:cost", "margin": 0, "goal": "minimize"}
    assert found(always, **cost).result is Result.PASS


def test_rows_that_were_read_without_the_target_have_it_for_your_own_functions(tmp_path: Path) -> None:
    file = tmp_path / "right.py"
    file.write_text("def right(rows, predictions):\n    return (rows.y == predictions).mean()\n")
    evidence = pair(400, 0.9, 0.0, 0.0)
    share = float((evidence.candidate.labels == evidence.target).mean())
    assert "y" not in evidence.rows
    assert found(evidence, type="business", function=f"{file}:right", min=0.5).estimate == share


@pytest.mark.parametrize(
    ("text", "result", "reason"),
    [
        ("def test_right(predictions, target, rows):\n    assert (predictions == target).all() and 'sex' in rows\n",
         Result.PASS, "1 of 1 tests of checks.py passed"),
        ("def test_wrong(predictions, target):\n    assert set(predictions) == {'maybe'}\n",
         Result.FAIL, "1 of 1 tests of checks.py failed: FAILED checks.py::test_wrong"),
        ("x = 1\n", Result.FAIL, "checks.py has no tests"),
        ("import no_such_module\n", Result.FAIL, "1 of 1 tests of checks.py failed: ERROR checks.py"),
    ],
)  # fmt: skip
def test_tests_of_the_users_own_see_the_candidate(tmp_path: Path, text: str, result: Result, reason: str) -> None:
    (tmp_path / "checks.py").write_text(text)
    evidence = pair(40, 1.0, 0.0, 0.0)
    evidence = replace(evidence, candidate=replace(evidence.candidate, bundle=tmp_path))
    finding = found(evidence, type="tests", file=str(tmp_path / "checks.py"))
    assert finding.result is result, finding.reason
    assert reason in finding.reason


def test_the_candidate_of_a_test_answers_rows_that_are_not_in_the_evidence(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text(
        "def test_rows_are_answered_alone(candidate, champion, rows, predictions):\n"
        "    assert champion is None\n"
        "    assert list(candidate.predict(rows).prediction) == list(predictions)\n"
        "    more = candidate.predict(rows.iloc[:1] * 2)\n"
        "    assert 0 <= more['probability.benign'].iloc[0] <= 1\n"
    )
    bundle = bundles.classification(tmp_path / "bundle")
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=list(bundles.COLUMNS))
    predictor = Predictor(bundle)
    candidate = Answers("1", predictor.manifest, predictor.outputs(rows.to_numpy(np.float32)), bundle=bundle)
    evidence = Evidence("rows.csv", rows, np.zeros(50, dtype=np.int64), candidate)
    finding = found(evidence, type="tests", file=str(tmp_path / "checks.py"))
    assert (finding.result, finding.reason) == (Result.PASS, "1 of 1 tests of checks.py passed")


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"type": "metric", "metric": "acuracy", "min": 0.5}, r"production\[0\]\.metric: .*Did you mean 'accuracy'\?"),
        ({"type": "metric", "metric": "rmse", "min": 0.5}, "expected a metric for classification"),
        ({"type": "metric", "metric": "loss", "min": 0.5}, "expected a metric of the predictions"),
        ({"type": "metric", "metric": {"name": "f1", "average": "none"}, "min": 0.5}, "a metric with one value"),
        ({"type": "fairness", "metric": "f1", "column": "sexx", "max_difference": 0.1}, "Did you mean 'sex'?"),
        ({"type": "fairness", "metric": "f1", "column": "amount", "max_difference": 0.1}, "2 to 50 values"),
        ({"type": "business", "function": "nowhere.py:profit", "min": 0}, r"\[0\]\.function: .*no such file"),
        ({"type": "tests", "file": "nowhere.py"}, r"\[0\]\.file: .*no such file"),
        ({"type": "tests", "file": __file__}, "expected the candidate's bundle"),
    ],
)
def test_what_does_not_exist_is_one_error(gate: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        found(pair(100, 0.9, 0.05, 0.05), **gate)


def test_a_business_function_that_fails_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "value.py"
    file.write_text(PROFIT)
    with pytest.raises(InputError, match=r"AttributeError: .*amout.*\(value\.py, line 9\)"):
        found(pair(100, 0.9, 0.05, 0.05), type="business", function=f"{file}:broken", min=0)


def test_versions_that_predict_something_else_are_not_compared() -> None:
    evidence = pair(100, 0.9, 0.05, 0.05)
    assert evidence.champion is not None
    other = replace(evidence, champion=replace(evidence.champion, manifest=manifest(("cat", "dog"))))
    with pytest.raises(InputError, match="champion, version 1: expected the classes no, yes, as version 2 predicts"):
        found(other, type="mcnemar")


def test_an_unknown_metric_of_the_folds_is_one_error() -> None:
    with pytest.raises(InputError, match="expected one of f1, which the folds of version 2 have, found 'f2'"):
        found(folds(), type="cross_validation", metric="f2")
