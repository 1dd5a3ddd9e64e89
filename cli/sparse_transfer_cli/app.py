"""The verbs and their options; what a verb does is imported when it is called.

This module decides how long ``--help`` takes, so it imports typer and nothing else that takes time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparse_transfer_cli.cluster.app import NameOrVerb, results_show, verbs

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
catalog = typer.Typer(
    rich_markup_mode=None, help="The foundation models that names and levels resolve to."
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
app.add_typer(results, name="results", no_args_is_help=True)
app.add_typer(catalog, name="catalog", no_args_is_help=True)
app.add_typer(examples, name="examples", no_args_is_help=True)

ExperimentFile = Annotated[
    Path, typer.Option("--file", "-f", metavar="YAML", help="The experiment.", show_default=False)
]
StorageOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        metavar="YAML",
        help="An experiment whose spec.storage says how storage is reached.",
        show_default=False,
    ),
]
ProgressOption = Annotated[
    Literal["auto", "bar", "json"],
    typer.Option(help="Progress bars, JSON lines, or bars only in a terminal."),
]
CatalogOption = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        metavar="FILE",
        help="Path or address of your own catalogue.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document.")]
SizeOption = Annotated[
    Literal["largest", "medium", "smallest"],
    typer.Option(help="Which size of its family it is taken for."),
]
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
def upstream(
    model: Annotated[
        str, typer.Option(help="The dense model: a folder or an address.", show_default=False)
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Texts without labels, .jsonl or .txt; or a folder of pictures.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="The new foundation's folder.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Its name. Default: the folder's.")] = None,
    licence: Annotated[str | None, typer.Option(help="The dense model's, if known.")] = None,
    sparsity: Annotated[float, typer.Option(help="Share of weights to set to zero.")] = 0.8,
    method: Annotated[
        Literal["admm", "sparsegpt", "wanda", "magnitude", "gradual"],
        typer.Option(help="How weights are chosen."),
    ] = "admm",
    pattern: Annotated[
        Literal["unstructured", "block4"],
        typer.Option(help="Of the zeros: single weights, or four neighbouring inputs."),
    ] = "unstructured",
    budgets: Annotated[
        Literal["uniform", "layer-error"],
        typer.Option(help="Each layer's zeros: the same share, or more where they cost less."),
    ] = "uniform",
    calibration_rows: Annotated[int, typer.Option(help="Texts that pruning looks at.")] = 768,
    refine_rounds: Annotated[
        int, typer.Option(help="Of exchanging kept weights for better ones, layer by layer.")
    ] = 0,
    block_steps: Annotated[int, typer.Option(help="Of tuning each pruned block as a whole.")] = 0,
    gradual_steps: Annotated[
        int | None,
        typer.Option(
            help="In which a gradual pruning reaches its sparsity. Default: 150.",
            show_default=False,
        ),
    ] = None,
    prune_every: Annotated[int, typer.Option(help="Steps, of a gradual pruning.")] = 10,
    initial_sparsity: Annotated[float, typer.Option(help="Of a gradual pruning.")] = 0.0,
    recovery_steps: Annotated[int, typer.Option(help="Of distillation after pruning.")] = 250,
    batch_size: Annotated[int, typer.Option(help="Texts of a recovery step.")] = 32,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="Of training steps.")
    ] = "auto",
    max_length: Annotated[int, typer.Option(help="Tokens; longer texts are cut.")] = 64,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Pixels of a side. Default: the model's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice and order of texts.")] = 0,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Read a .pt of whole modules; runs no code.")
    ] = False,
    catalog: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own catalogue to add it to.", show_default=False),
    ] = None,
    size: SizeOption = "smallest",
    progress: ProgressOption = "auto",
) -> None:
    """Make a sparse foundation model out of a dense one."""
    from sparse_transfer_api.optim_level import Size
    from sparse_transfer_cli.verbs.upstream import UpstreamArguments, make

    arguments = UpstreamArguments(
        model=model,
        data=data,
        output=output,
        name=name,
        licence=licence,
        sparsity=sparsity,
        method=method,
        pattern=pattern,
        budgets=budgets,
        calibration_rows=calibration_rows,
        refine_rounds=refine_rounds,
        block_steps=block_steps,
        gradual_steps=gradual_steps,
        prune_every=prune_every,
        initial_sparsity=initial_sparsity,
        recovery_steps=recovery_steps,
        batch_size=batch_size,
        precision=precision,
        max_length=max_length,
        image_size=image_size,
        seed=seed,
        trust_pickle=trust_pickle,
    )
    make(arguments, catalog=catalog, size=Size(size.capitalize()), style=progress)


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


@catalog.command("list")
def catalog_list(
    catalog: CatalogOption = None,
    use_case: Annotated[
        str | None,
        typer.Option(help="Only what it starts from, level by level.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the models of the catalogue, or what the levels of a use case start from."""
    from sparse_transfer_cli.verbs.catalog import list_levels, list_models

    if use_case is None:
        list_models(catalog, as_json=json)
    else:
        list_levels(use_case, catalog, as_json=json)


@catalog.command("show")
def catalog_show(
    name: Annotated[
        str,
        typer.Argument(
            help="See 'catalog list'; or an identifier of the SparseZoo.", show_default=False
        ),
    ],
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Show everything that is known about one model, and whether it can be reached."""
    from sparse_transfer_cli.verbs.catalog import show_model

    show_model(name, catalog, as_json=json)


@catalog.command("add")
def catalog_add(
    folder: Annotated[Path, typer.Argument(help="As 'upstream' wrote it.", show_default=False)],
    catalog: Annotated[
        Path,
        typer.Option("--catalog", metavar="FILE", help="Made when missing.", show_default=False),
    ],
    size: SizeOption = "smallest",
) -> None:
    """Add a foundation model to your own catalogue, as the first choice for its size."""
    from sparse_transfer_api.optim_level import Size
    from sparse_transfer_cli.console import stdout
    from sparse_transfer_cli.verbs.catalog import add_model

    add_model(folder, catalog, Size(size.capitalize()), stdout())


@catalog.command("build")
def catalog_build(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME", help="Of models or ladders; see 'catalog list'.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(help="Their folder, with a catalogue of what was made.", show_default=False),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Data without labels, where an entry names none.")
    ] = None,
    catalog: CatalogOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands; run nothing.")
    ] = False,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Read .pt files of whole modules; run no code.")
    ] = False,
    progress: ProgressOption = "auto",
) -> None:
    """Make sparse models that are published nowhere, as their entries say."""
    from sparse_transfer_cli.verbs.catalog_build import BuildArguments, build

    arguments = BuildArguments(
        names=names,
        output=output,
        data=data,
        catalog=catalog,
        dry_run=dry_run,
        trust_pickle=trust_pickle,
    )
    raise typer.Exit(build(arguments, progress))


@catalog.command("mirror")
def catalog_mirror(
    to: Annotated[
        str,
        typer.Option(
            metavar="URI", help="Folder or address: s3://, pvc://, file://.", show_default=False
        ),
    ],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="See 'catalog list'.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All models.")] = False,
    catalog: CatalogOption = None,
    file: StorageOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be copied; copy nothing.")
    ] = False,
    progress: ProgressOption = "auto",
) -> None:
    """Copy models, and a catalogue of the copies, to where there is no internet."""
    from sparse_transfer_cli.verbs.catalog_mirror import MirrorArguments, mirror

    arguments = MirrorArguments(
        names=names or (),
        everything=everything,
        to=to,
        catalog=catalog,
        file=file,
        dry_run=dry_run,
    )
    raise typer.Exit(mirror(arguments, progress))


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
