"""The verbs that need a kubeconfig, and their options; what they do is imported when called.

Like ``sparse_transfer_cli.app`` this decides how long ``--help`` takes: it imports typer only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from sparse_transfer_cli.options import ExperimentFile

if TYPE_CHECKING:
    from .connection import Target

_SHOW = "show"

verbs = typer.Typer(rich_markup_mode=None)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The experiment's name.", show_default=False)
]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Default: the context's.", show_default=False),
]
ContextOption = Annotated[
    str | None,
    typer.Option(help="Of the kubeconfig. Default: the current one.", show_default=False),
]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Default: KUBECONFIG, or ~/.kube/config.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


class NameOrVerb(TyperGroup):
    """A group in which what is no verb is an experiment's name, to be shown."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the verb in where the user left it out."""
        help_names = self.get_help_option_names(ctx)
        if args and args[0] not in self.commands and args[0] not in help_names:
            args = [_SHOW, *args]
        return super().parse_args(ctx, args)


def _target(namespace: str | None, context: str | None, kubeconfig: Path | None) -> Target:
    """Returns which cluster is meant, once it is clear that one can be asked.

    Raises:
        UsageError: The extra is not installed.
    """
    from sparse_transfer_cli.requirements import require

    require(("kubernetes",), "cluster")
    from .connection import Target

    return Target(namespace, context, kubeconfig)


@verbs.command()
def submit(
    file: ExperimentFile,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay to its end.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Of --wait. Default: as long as it takes."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Let the cluster check it; change nothing.")
    ] = False,
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Take over fields that others manage.")
    ] = False,
    progress: Annotated[
        Literal["auto", "bar", "json"],
        typer.Option(help="Of --wait: bars, JSON lines, or bars only in a terminal."),
    ] = "auto",
) -> None:
    """Check an experiment, and hand it to a cluster."""
    target = _target(namespace, context, kubeconfig)
    from sparse_transfer_cli.verbs.submit import SubmitOptions
    from sparse_transfer_cli.verbs.submit import submit as submit_file

    options = SubmitOptions(
        wait=wait, timeout=timeout, dry_run=dry_run, force=force_conflicts, style=progress
    )
    raise typer.Exit(submit_file(file, target, options))


@verbs.command()
def status(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Tell everything of this one.", show_default=False),
    ] = None,
    namespace: NamespaceOption = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Those of all namespaces.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing what changes.")
    ] = False,
    json: JsonOption = False,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show how experiments on a cluster stand."""
    target = _target(namespace, context, kubeconfig)
    from sparse_transfer_cli.verbs.status import show_status

    raise typer.Exit(
        show_status(name, target, everywhere=all_namespaces, watch=watch, as_json=json)
    )


@verbs.command()
def logs(
    name: NameArgument,
    stage: Annotated[
        Literal["prepare", "train", "package"] | None,
        typer.Option(help="Default: the one that runs, or that ran last.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on, to the end of stage or experiment.")
    ] = False,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="The pod before the newest.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="This attempt's pod.", show_default=False)
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Of a search: this level's pods.", show_default=False),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Records as JSON, as they are.")] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show what the pods of an experiment's stages write."""
    target = _target(namespace, context, kubeconfig)
    from sparse_transfer_api.contract import Stage
    from sparse_transfer_cli.verbs.logs import LogOptions, show_logs

    options = LogOptions(
        stage=Stage(stage) if stage is not None else None,
        follow=follow,
        previous=previous,
        attempt=attempt,
        raw=raw,
        level=level,
    )
    raise typer.Exit(show_logs(name, target, options))


def results_show(
    name: NameArgument,
    json: JsonOption = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="HTML", help="Write a page of a search's levels too.", show_default=False
        ),
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show what an experiment on a cluster came to; 'show' may be left out."""
    target = _target(namespace, context, kubeconfig)
    from sparse_transfer_cli.verbs.results_show import show_results

    raise typer.Exit(show_results(name, target, as_json=json, page=report))
