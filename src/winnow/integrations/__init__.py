"""Files for other people's tools, rendered from an experiment; each integration is a folder with its templates.

    from winnow.integrations import airflow_dags

An integration calls `winnow.api` and renders files. Its verbs are functions here, as the others are in `winnow.api`.
Importing this package is as cheap.
"""

from __future__ import annotations

from winnow.integrations.airflow import airflow_dags
from winnow.integrations.audit import Audit, Check, CheckState, audit
from winnow.integrations.ci import ci_init
from winnow.integrations.gitops import GitopsPromotion, ManifestCommit, gitops_init, gitops_promote, gitops_rollback
from winnow.integrations.seldon import seldon_manifests

__all__ = [
    "Audit",
    "Check",
    "CheckState",
    "GitopsPromotion",
    "ManifestCommit",
    "airflow_dags",
    "audit",
    "ci_init",
    "gitops_init",
    "gitops_promote",
    "gitops_rollback",
    "seldon_manifests",
]
