"""The verb that answers over HTTP: serve."""

from pathlib import Path
from typing import Annotated

import typer

from crossflare.cli.terminal import OK, bars, examples, plain, say, say_untested
from crossflare.errors import UserError
from crossflare.service.limits import Limits

PANEL = "Models"
LIMITS = "Limits"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare serve --adapter sw=runs/demo/models/ID", "texts with their sources, on this machine"),
            ("crossflare serve --adapter sw=A --translate sw=dictionary:lexicon=sw-en.tsv \\", ""),
            ("    --adapter es=B --translate es=apertium", "two languages, translated by the service"),
            ("crossflare serve --adapter sw=A --host 0.0.0.0 --key-file keys.txt", "for other machines, with keys"),
        ),
    )(serve)


def serve(
    adapter: Annotated[
        list[str],
        typer.Option(
            metavar="LANGUAGE=ADAPTER",
            help="A trained adapter for a language: runs/NAME/models/ID, or OWNER/NAME on the hub; repeatable. Without "
            "LANGUAGE=, it is the one on its card.",
            show_default=False,
        ),
    ],
    translate: Annotated[
        list[str],
        typer.Option(
            metavar="LANGUAGE=ENGINE[:KEY=VALUE,...]",
            help="The engine that translates texts that come without a source, with its options as in a recipe; "
            "repeatable. Without LANGUAGE=, it is for all languages.",
        ),
    ] = [],  # noqa: B006
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Any other address than this machine's own needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one, which is printed.")] = 8000,
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A key on each line; requests must have one. By default from CROSSFLARE_SERVE_KEYS, if it is set.",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Folder or hub name of the base model, as for predict.")
    ] = None,
    max_texts: Annotated[int, typer.Option(min=1, help="Texts of a request.", rich_help_panel=LIMITS)] = Limits.texts,
    max_characters: Annotated[
        int, typer.Option(min=1, help="Characters of a text or a source.", rich_help_panel=LIMITS)
    ] = Limits.characters,
    max_body: Annotated[
        int, typer.Option(min=1, help="Bytes of a request.", rich_help_panel=LIMITS)
    ] = Limits.body_bytes,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Rows that are not answered yet; then 429.", rich_help_panel=LIMITS)
    ] = Limits.waiting_rows,
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of a batch, with padding.", rich_help_panel=LIMITS)
    ] = Limits.batch_tokens,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="For an answer; then 504.", rich_help_panel=LIMITS)
    ] = Limits.request_seconds,
    translate_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="For a call of an engine, which is then started again.", rich_help_panel=LIMITS
        ),
    ] = Limits.translate_seconds,
    drain: Annotated[
        float, typer.Option(metavar="SECONDS", help="For what is in flight at a stop.", rich_help_panel=LIMITS)
    ] = Limits.drain_seconds,
) -> None:
    """Answer over HTTP: POST /predict with texts of many languages, which share batches at the model.

    SIGTERM or Ctrl-C finishes what is in flight. The log has a line for each request, and never a text.
    """
    limits = Limits(
        body_bytes=max_body,
        texts=max_texts,
        characters=max_characters,
        waiting_rows=max(max_waiting, max_texts),
        batch_tokens=batch_tokens,
        request_seconds=timeout,
        translate_seconds=translate_timeout,
        drain_seconds=drain,
    )
    from crossflare.service.address import take_address
    from crossflare.service.keys import keys_from

    keys = keys_from(key_file)
    taken = take_address(host, port, keys)
    say_untested()
    with bars():
        try:
            from crossflare.service.server import log_requests
            from crossflare.service.server import serve as serve_until_stopped
        except ModuleNotFoundError as error:
            missing = str(error.name).partition(".")[0]
            raise UserError(f"serve needs {missing}; install it: pip install 'crossflare[serve]'") from error
        from crossflare.service.opening import adapters_named, engines_named, open_service

        adapters = adapters_named(adapter)
        service = open_service(adapters, engines_named(translate, [*adapters]), base=base, limits=limits)
    log_requests()

    def tell(address: str) -> None:
        without = [name for name in adapters if name not in service.engines and name not in service.encoders]
        note = f"; without a source, {', '.join(without)} read texts alone" if without else ""
        say(f"{OK} {', '.join(adapters)} on {address}{' with keys' if keys else ''}{plain(note)}; Ctrl-C stops it")

    serve_until_stopped(service, keys, taken, tell)
    say("stopped; all requests in flight are answered")
