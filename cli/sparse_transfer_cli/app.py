"""The verbs and their options; what a verb does is imported when it is called.

This module decides how long ``--help`` takes, so it imports typer and nothing else that takes time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparse_transfer_cli.cluster.app import NameOrVerb, results_show, verbs
from sparse_transfer_cli.models_app import models
from sparse_transfer_cli.options import (
    CatalogOption,
    ExperimentFile,
    JsonOption,
    ProgressOption,
    StorageOption,
)

_CONTEXT = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="sparse-transfer",
    help="Turn your data and a pre-sparsified model into a small, fast, measured model.",
    no_args_is_help=True,
    add_completion=False,
    # rich's markup would double the time that --help takes.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_CONTEXT,
)
examples = typer.Typer(
    rich_markup_mode=None, help="Real data that comes inside packages, to try things with."
)
results = typer.Typer(
    rich_markup_mode=None,
    cls=NameOrVerb,
    subcommand_metavar="NAME | VERB [ARGS]...",
    help="What experiments have recorded; on a cluster, by NAME.",
)
results.command("show")(results_show)
app.add_typer(models)
app.add_typer(results, name="results", no_args_is_help=True)
app.add_typer(examples, name="examples", no_args_is_help=True)

ResultArgument = Annotated[
    str,
    typer.Argument(
        metavar="RESULT",
        help="Path or address of a package stage's folder, or of a folder above it.",
        show_default=False,
    ),
]  # fmt: skip


@app.callback()
def _global(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; understood after a verb too.")
    ] = False,
) -> None:
    """Turn your data and a pre-sparsified model into a small, fast, measured model."""


@app.command()
def run(
    file: ExperimentFile, catalog: CatalogOption = None, progress: ProgressOption = "auto"
) -> None:
    """Run an experiment on this machine, or resume it."""
    from sparse_transfer_cli.verbs.run import RunOptions, run_file

    raise typer.Exit(run_file(file, RunOptions(progress, catalog)))


@app.command("sparse-transfer")
def sparse_transfer(
    use_case: Annotated[str, typer.Option(help="The task, such as sentiment.", show_default=False)],
    data: Annotated[str, typer.Option(help="Folder or address of the data.", show_default=False)],
    optim_level: Annotated[
        str | None, typer.Option(help="0 to 1, or a per cent up to 100. Default: 0.5.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A pre-sparsified model instead of the catalogue's.")
    ] = None,
    working_dir: Annotated[str, typer.Option(help="Results go to runs/ in it.")] = ".",
    recipe: Annotated[str | None, typer.Option(help="File or address of a recipe.")] = None,
    recipe_args: Annotated[
        str | None, typer.Option(metavar="MAPPING", help="Values for the recipe's variables.")
    ] = None,
    train_kwargs: Annotated[
        str | None, typer.Option(metavar="MAPPING", help="""Such as '{"epochs": 3}'.""")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="auto, off, or a model trained for this task.")
    ] = None,
    eval_metric: Annotated[str | None, typer.Option(help="The primary metric.")] = None,
    train_samples: Annotated[int | None, typer.Option(help="Train on at most so many.")] = None,
    val_samples: Annotated[int | None, typer.Option(help="Evaluate on at most so many.")] = None,
    deploy_engine: Annotated[
        str | None, typer.Option(help="The engine to export for and measure.")
    ] = None,
    deploy_hardware: Annotated[str | None, typer.Option(hidden=True)] = None,
    deploy_scenario: Annotated[str | None, typer.Option(hidden=True)] = None,
    name: Annotated[
        str | None, typer.Option(help="The experiment's name. Default: from the data's.")
    ] = None,
    catalog: CatalogOption = None,
    progress: ProgressOption = "auto",
    show: Annotated[
        bool, typer.Option("--show", help="Print the experiment's YAML; run nothing.")
    ] = False,
) -> None:
    """Run an experiment from arguments, without a YAML."""
    from sparse_transfer_cli.original_arguments import OriginalArguments
    from sparse_transfer_cli.verbs.run import RunOptions, run_arguments

    arguments = OriginalArguments(
        use_case=use_case,
        data=data,
        optim_level=optim_level,
        model=model,
        working_dir=working_dir,
        recipe=recipe,
        recipe_args=recipe_args,
        train_kwargs=train_kwargs,
        teacher=teacher,
        eval_metric=eval_metric,
        train_samples=train_samples,
        val_samples=val_samples,
        deploy_engine=deploy_engine,
        deploy_hardware=deploy_hardware,
        deploy_scenario=deploy_scenario,
        name=name,
    )
    raise typer.Exit(run_arguments(arguments, RunOptions(progress, catalog), show=show))


@app.command()
def validate(
    file: ExperimentFile,
    data: Annotated[bool, typer.Option("--data", help="Check the data too.")] = False,
    model: Annotated[bool, typer.Option("--model", help="Check the model too.")] = False,
    catalog: CatalogOption = None,
) -> None:
    """Check an experiment, its data and its model."""
    from sparse_transfer_cli.verbs.validate import validate_file

    validate_file(file, data=data, model=model, catalog=catalog)


@app.command()
def benchmark(
    result: ResultArgument,
    engine: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be given again. Default: all.")
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(min=1, help="May be given again. Default: the headline's.")
    ] = None,
    sequence_length: Annotated[
        list[int] | None, typer.Option(min=1, help="May be given again. Default: the headline's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each engine. Default: all cores.")
    ] = None,
    progress: ProgressOption = "auto",
) -> None:
    """Measure a finished experiment's files again."""
    from sparse_transfer_cli.verbs.benchmark import BenchmarkArguments, measure

    arguments = BenchmarkArguments(
        engines=engine, batch_sizes=batch_size, sequence_lengths=sequence_length, threads=threads
    )
    measure(result, arguments, progress)


@app.command()
def report(
    result: ResultArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="HTML", help="Default: NAME-report.html here."),
    ] = None,
) -> None:
    """Write a finished experiment's report again."""
    from sparse_transfer_cli.verbs.report import write_report

    write_report(result, output)


app.add_typer(verbs)


@results.command("verify")
def results_verify(
    uri: Annotated[
        str | None,
        typer.Argument(
            metavar="URI",
            help="Path or address of a stage's folder, an experiment's, or one above; by default "
            "where the experiment of --file puts its results.",
            show_default=False,
        ),
    ] = None,
    file: StorageOption = None,
    json: JsonOption = False,
) -> None:
    """Check that results are as they were recorded; read everything, change nothing."""
    from sparse_transfer_cli.verbs.results import verify

    raise typer.Exit(verify(uri, file, as_json=json))


@examples.command("list")
def examples_list() -> None:
    """List the data sets that can be extracted."""
    from sparse_transfer_cli.verbs.examples import list_sets

    list_sets()


@examples.command("extract")
def examples_extract(
    name: Annotated[str, typer.Argument(help="Such as film-reviews; see 'examples list'.")],
    output: Annotated[Path, typer.Option(help="The folder to write to.", show_default=False)],
    file_format: Annotated[
        Literal["csv", "json", "jsonl"] | None, typer.Option("--format", help="Default: csv.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of rows.")] = 0,
) -> None:
    """Write packaged example data in the formats of the guide."""
    from sparse_transfer_cli.verbs.examples import extract

    extract(name, output, file_format=file_format, rows=rows, seed=seed)
