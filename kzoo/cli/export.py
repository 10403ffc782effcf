"""``kzoo export``: a model as a SavedModel that takes text and gives answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from kzoo.cli.opening import MODEL_HELP
from kzoo.cli.output import count, duration, say


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    directory: Annotated[str, typer.Argument(metavar="DIRECTORY", help="Where to write the SavedModel.")],
    task: Annotated[str, typer.Option(help="classify, embed or generate, for a checkpoint that does not say.")] = "",
    max_length: Annotated[
        int | None, typer.Option(min=3, help="Longest text in tokens, for a checkpoint that was not saved as a task.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Of the task: choices=[yes, no], abstain_below=0.8, ... Of a saved one its limits. May be repeated.",
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16; by default the model's own.")] = "",
    token_signatures: Annotated[
        bool,
        typer.Option("--token-signatures", help="Add the signature from_token_ids, for callers who tokenize."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the signatures that attribute an answer to the text's tokens.")
    ] = False,
    explain_steps: Annotated[
        int, typer.Option(min=1, help="Points at which they take the gradient: more are slower, and more exact.")
    ] = 32,
    explain_baseline: Annotated[
        str, typer.Option(help="What a token is compared with: zero, pad or mask, the vector of that token.")
    ] = "zero",
    explain_attention: Annotated[
        bool, typer.Option("--explain-attention", help="Their answers hold the attention's maps, too.")
    ] = False,
    compiled: Annotated[
        bool,
        typer.Option("--compiled", help="Add signatures that XLA compiles: faster, for a server with its XLA flag."),
    ] = False,
    corpus: Annotated[
        str,
        typer.Option(metavar="INDEX", help="An index (kzoo index) to put in: the model answers with its passages."),
    ] = "",
    top: Annotated[int, typer.Option(min=1, help="Passages of its plain answer.")] = 5,
    most: Annotated[int, typer.Option(min=1, help="Passages that a request may ask for.")] = 100,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is there.")] = False,
) -> None:
    """Export a model for TensorFlow Serving.

    The SavedModel takes raw text and gives finished answers; tokenizer and weights are inside. It is checked before
    it appears under its name: loaded again, its answers compared, its operations held against what the stock server
    has. The path is printed on standard output.

    \b
    Examples:
      kzoo export runs/movie-reviews exports/reviews
      kzoo export runs/movie-reviews exports/reviews-half --precision bfloat16
      kzoo export minilm-l6-v2 exports/minilm --task embed
      kzoo export minilm-l6-v2 exports/notes --corpus notes.index --top 3
      kzoo export runs/movie-reviews exports/reviews --explain --explain-steps 32
    """
    start = time.perf_counter()
    from kzoo.cli.evaluate import check_kept, read_options
    from kzoo.cli.opening import open_task

    if corpus:
        from kzoo.search.store import Store

        Store(Path(corpus))  # a mistake is told before the model is loaded
        task = task or "embed"
    options = read_options(option or []) | ({} if max_length is None else {"max_length": max_length})
    opened = open_task(model, task=task, **options)
    check_kept(model, opened, {name: value for name, value in options.items() if name != "max_length"})
    if corpus:
        from kzoo.search import Index, Search

        opened = Search.of(Index(corpus, task=opened), top=top, most=max(top, most))
    from kzoo.serving.export import export as export_task
    from kzoo.serving.provenance import of_run

    say("Exporting and checking ...")
    path = export_task(
        opened,
        Path(directory),
        precision=precision or None,
        overwrite=overwrite,
        token_signatures=token_signatures,
        explain={"steps": explain_steps, "baseline": explain_baseline, "attention": explain_attention}
        if explain or explain_attention
        else False,
        compiled=compiled,
        provenance=of_run(model),
        say=say,
    )
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    say(f"Exported {opened.name} ({count(size)}B) in {duration(time.perf_counter() - start)}.")
    say(f"Next: kzoo bundle bundles/{path.name} {path.name}={path}")
    print(path)
