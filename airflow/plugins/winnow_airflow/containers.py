"""Verbs in containers and pods, which need nothing but the image: by the providers of Docker and Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from winnow_airflow.job import command_of

if TYPE_CHECKING:
    from airflow.sdk import Context

_REFUSED = re.compile(r"'StatusCode': [23]\b|'exit_code': [23]\b|exit code:? [23]\b")


_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


class WinnowDockerOperator(DockerOperator):
    """A verb in a container, which goes at its end. Other arguments are those of DockerOperator."""

    def __init__(
        self,
        *,
        verb: str,
        flags: Mapping[str, Any] | None = None,
        auto_remove: Literal["never", "success", "force"] = "success",
        **kwargs: Any,
    ) -> None:
        super().__init__(command=command_of("winnow", verb, flags or {}), auto_remove=auto_remove, **kwargs)

    def execute(self, context: Context) -> Any:
        """Run it; exit status 2 and 3 are not tried again."""
        try:
            return super().execute(context)
        except AirflowException as error:
            raise _final(error) from error


class WinnowPodOperator(KubernetesPodOperator):
    """A verb in a pod that the Pod Security Standard `restricted` admits.

    Other arguments are those of KubernetesPodOperator; `deferrable=True` holds no slot.
    """

    def __init__(
        self,
        *,
        verb: str,
        flags: Mapping[str, Any] | None = None,
        security_context: Any = None,
        container_security_context: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            cmds=command_of("winnow", verb, flags or {}),
            security_context=security_context or _POD,
            container_security_context=container_security_context or _CONTAINER,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Run it; exit status 2 and 3 are not tried again."""
        try:
            return super().execute(context)
        except AirflowException as error:
            raise _final(error) from error

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on when the trigger has fired."""
        try:
            return super().trigger_reentry(context, event)
        except AirflowException as error:
            raise _final(error) from error


def _final(error: AirflowException) -> AirflowException:
    """The same error with the verb's last line; without another try where the verb has refused."""
    logs = [str(line).strip() for line in getattr(error, "logs", None) or [] if str(line).strip()]
    said = f"{error} It said: {logs[-1]}" if logs else str(error)
    return AirflowFailException(said) if _REFUSED.search(str(error)) else AirflowException(said)
