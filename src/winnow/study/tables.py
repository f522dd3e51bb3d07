"""winnow's tables beside Optuna's, in the same database and, where a change spans both, in the same transaction.

Optuna's tables stay the truth about a trial's state, parameters and values, so that its dashboard and samplers see the
whole study. Ours hold what Optuna has no place for: who works on what until when, every fold's metrics and times, and
what the tracking store has been told.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

TRIAL_CODE = "winnow:code"
"""Attribute of a trial in Optuna's tables: digest of the person's code that its folds were trained with."""

FOLD_SCORES, REASON = "fold_scores", "reason"
"""Attributes of an ended trial in Optuna's tables: every fold's objective; why it did not complete."""

studies = sa.Table(
    "winnow_studies",
    metadata,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("target", sa.Integer, nullable=False, comment="how many trials make the study done"),
    sa.Column("experiment", sa.Text, nullable=False, comment="the experiment file as JSON, as last given"),
    sa.Column("sweep", sa.Text, nullable=False, comment="the SweepRecord as JSON"),
    sa.Column("parent_run_id", sa.String(64)),
)

tasks = sa.Table(
    "winnow_tasks",
    metadata,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True, comment="trial | refit | report"),
    sa.Column("number", sa.Integer, primary_key=True, comment="the trial's number; the report's target"),
    sa.Column("trial_id", sa.Integer, index=True),
    sa.Column("state", sa.String(16), nullable=False, comment="waiting | leased | done | failed"),
    sa.Column("attempt", sa.Integer, nullable=False, comment="counts claims; writes of earlier claims are refused"),
    sa.Column("lost", sa.Integer, nullable=False, comment="how often its worker was lost"),
    sa.Column("owner", sa.String(128)),
    sa.Column("grp", sa.String(64)),
    sa.Column("expires_at", sa.Float, comment="by the database's clock"),
    sa.Column("reason", sa.Text),
    sa.Column("result", sa.Text, comment="a finished refit: model version and holdout metrics as JSON"),
    sa.Column("run_id", sa.String(64)),
    sa.Column("tracked", sa.Boolean, nullable=False, comment="the tracking store holds its last state"),
    sa.Column("started_at_ms", sa.BigInteger),
    sa.Column("ended_at_ms", sa.BigInteger),
)

folds = sa.Table(
    "winnow_folds",
    metadata,
    sa.Column("trial_id", sa.Integer, primary_key=True),
    sa.Column("fold", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.Integer, nullable=False, index=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False),
    sa.Column("first_step_s", sa.Float, nullable=False),
    sa.Column("train_s", sa.Float, nullable=False),
    sa.Column("score_s", sa.Float, nullable=False),
    sa.Column("worker", sa.String(64), nullable=False),
    sa.Column("started_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger, nullable=False),
)

curves = sa.Table(
    "winnow_curves",
    metadata,
    sa.Column("trial_id", sa.Integer, primary_key=True),
    sa.Column("fold", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.Integer, nullable=False, index=True),
    sa.Column("points", sa.Text, nullable=False, comment="learning curves: name → [epoch, value] pairs, as JSON"),
)

out_of_fold = sa.Table(
    "winnow_out_of_fold",
    metadata,
    sa.Column("trial_id", sa.Integer, primary_key=True),
    sa.Column("fold", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.Integer, nullable=False, index=True),
    sa.Column("outputs", sa.LargeBinary, nullable=False, comment="a classifier's, for the fold's validation rows"),
)
"""Only of trials that may be refitted."""

workers = sa.Table(
    "winnow_workers",
    metadata,
    sa.Column("owner", sa.String(128), primary_key=True),
    sa.Column("study_id", sa.Integer, nullable=False, index=True),
    sa.Column("grp", sa.String(64), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("status", sa.Text, nullable=False, comment="WorkerStatus as JSON"),
    sa.Column("expires_at", sa.Float, nullable=False, comment="by the database's clock; in the past once it has ended"),
)

incidents = sa.Table(
    "winnow_incidents",
    metadata,
    sa.Column("incident_id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.Integer, nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("worker", sa.String(64), nullable=False),
    sa.Column("fold", sa.Integer, nullable=False),
    sa.Column("fold_started_at_ms", sa.BigInteger),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)

claims = sa.Table(
    "winnow_claims",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True, comment="what one process at a time may do"),
    sa.Column("owner", sa.String(512), nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False, comment="by the database's clock"),
)
