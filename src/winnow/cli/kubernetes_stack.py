"""`mlflow-init` and `mlflow-remove` on Kubernetes, and `kubernetes-secrets` for who applies k8s/ by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from winnow.cli.options import dry_run_option
from winnow.cli.stack import given_for, say, say_forced, say_in_use, setting_flag
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import home_folder
from winnow.config.stack_record import read_stack
from winnow.platforms.kubernetes.stack_settings import BACKEND, DESTINATION


def init(given: Mapping[str, str], *, registry: str, load: str, timeout_s: float | None, dry_run: bool) -> None:
    """Start the stack in the namespace that is meant, or print its manifests."""
    from winnow.cli.build import shown_steps
    from winnow.orchestrators import kubernetes_stack as stacks
    from winnow.platforms.kubernetes.stack import INIT_PERMISSIONS, PATIENCE_S, READ_PERMISSIONS

    permissions = READ_PERMISSIONS if dry_run else INIT_PERMISSIONS
    stack = stacks.open_stack(say, permissions, "starting the stack")
    wanted = stacks.prepare_start(given, stack, registry=registry, load=load)
    if dry_run:
        click.echo(wanted.render(), nl=False)
        return
    with shown_steps() as show:
        record = stacks.start(stack, wanted, timeout_s or PATIENCE_S, show=show)
    click.echo(f"MLflow    {record.tracking_url}, for workers; `{next_command('ui')}` opens it here")
    click.echo(f"Postgres  {record.storage_url}" if not record.is_own_storage else "Studies   WINNOW_STORAGE")
    click.echo(f"Secrets   the Secret winnow-tracking in namespace {record.namespace} of the cluster {record.context}")
    say_in_use(record.ending, given)


def remove(*, volumes: bool, is_forced: bool, dry_run: bool) -> None:
    """Remove the stack of the namespace that is meant."""
    from winnow.orchestrators import kubernetes_stack as stacks
    from winnow.platforms.kubernetes.stack import REMOVE_PERMISSIONS, VOLUMES_PERMISSIONS
    from winnow.platforms.kubernetes.stack_owner import check_end_in_cluster

    permissions = (*REMOVE_PERMISSIONS, *(VOLUMES_PERMISSIONS if volumes else ()))
    stack = stacks.open_stack(say, permissions, "removing the stack")
    namespace, claims = stack.cluster.namespace, stack.claims() if volumes else []
    other = stacks.other_owner(stack)
    if is_forced:
        say_forced(f"the stack in namespace {namespace}", other)
    else:
        check_end_in_cluster(namespace, other)
    if dry_run:
        click.echo(f"delete all of the stack in namespace {namespace} but its volumes and its Secret")
        if volumes:
            click.echo(f"delete the volumes {', '.join(claims) or '(there are none)'} and the Secret winnow-tracking")
        return
    for line in stacks.remove(stack, volumes=volumes):
        say(f"warning: {line}")
    rest = "its data with it" if volumes else "its volumes and its Secret stay"
    click.echo(f"The stack in namespace {namespace} is removed, {rest}. Verbs no longer use it.")


def no_logs(service: str | None) -> InputError:
    """What `compose-logs` says of a stack on a cluster."""
    from winnow.orchestrators.settings import cluster_for

    cluster = cluster_for(read_stack(home_folder(os.environ)))
    meant = f"winnow.stack=tracking,winnow.role={service}" if service else "winnow.stack=tracking"
    return InputError(
        "compose-logs",
        expected="the stack on Docker, whose logs Compose has",
        found=f"the one in namespace {cluster.namespace} of the cluster {cluster.context}",
        remedy=f"Ask kubectl: kubectl logs --namespace {cluster.namespace} --selector {meant} --prefix --tail 100.",
    )


@click.command("kubernetes-secrets")
@setting_flag(BACKEND, "MLflow's own database, where that is not to be the stack's Postgres.")
@setting_flag(DESTINATION, "Where artifacts are kept, where that is not to be the stack's MinIO.")
@dry_run_option
def secrets(dry_run: bool, **flags: str | None) -> None:
    """Make the Secret that `kubectl apply -k k8s/tracking` needs. Passwords that are there stay as they are.

    Keys of stores of your own are taken from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …
    """
    from winnow.orchestrators import kubernetes_stack as stacks
    from winnow.platforms.kubernetes.manifests import to_yaml
    from winnow.platforms.kubernetes.stack import SECRETS_PERMISSIONS

    stack = stacks.open_stack(say, SECRETS_PERMISSIONS, "making secrets")
    chosen = stacks.choose_secret(given_for("kubernetes", flags), stack)
    if dry_run:
        click.echo(to_yaml([stacks.shown_secret(chosen)]), nl=False)
        return
    is_changed = stack.keep_secret(chosen)
    place = f"the Secret winnow-tracking in namespace {stack.cluster.namespace}"
    click.echo(f"{place}: written." if is_changed else f"{place}: as it was.")
