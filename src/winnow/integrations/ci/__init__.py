"""Pipelines of continuous-integration servers, whose stages call winnow's verbs by make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from winnow.api.arguments import silent


def ci_init(
    kind: Literal["github", "jenkins", "gitlab"],
    config: Path | str,
    *,
    rules: Path | str | None = None,
    source: str | None = None,
    output: Path | str = ".",
    force: bool = False,
    say: Callable[[str], None] = silent,
) -> list[Path]:
    """Write the pipeline of a project: checks, data, sweep, selection, gates, image, scan, promotion by a commit.

    They are readable files, to be kept and changed. The schedule is that of `retrain`, the stages that are gated are
    those of the rules. `make lint` and `make test` are stages where the project's Makefile has these targets.

    Args:
        kind: `github`: three workflows in `.github/workflows`; `jenkins`: a Jenkinsfile; `gitlab`: `.gitlab-ci.yml`.
        config: the experiment file, by its path in the project's folder.
        rules: the rules file with the gates; by default `retrain.rules`, else the one that winnow ships.
        source: where the server gets winnow from: `git+https://HOST/PATH@COMMIT`, or the URL of a wheel, with which
            images cannot be built. By default `make setup` provides it, as in a clone.
        output: the project's folder, with its Makefile.
        force: overwrite files that differ.
        say: called with a warning where no gate of production is configured, without which a promotion is refused.

    Returns:
        The files.

    Raises:
        InputError: the experiment, the rules or the source are wrong, the project needs a source, or a file is there
            and differs. Nothing has been written then.
    """
    from winnow.config.loader import load_experiment
    from winnow.model_query.rules import DEFAULT_RULES, load_rules

    experiment = load_experiment(config)
    from winnow.integrations.ci.pipelines import Project, render_pipeline, winnow_source
    from winnow.integrations.rendered import write_rendered

    named = rules if rules is not None else experiment.retrain.rules
    gates = load_rules(DEFAULT_RULES if named is None else Path(named)).gates
    project = Project.of(Path(output), None if source is None else winnow_source(source))
    files = render_pipeline(kind, experiment, Path(config), gates, None if named is None else Path(named), project)
    made = write_rendered(files, Path(output), is_forced=force)
    if gates is None or not gates.of("production"):
        file = "winnow's own rules" if named is None else str(named)
        say(f"warning: {file}: no gates.production; `make gitops-promote STAGE=production`, the last step, needs them")
    return made
