"""`shan-engine serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import say
from shan_cli.opening import open_shards
from shan_cli.options import Backend, Device, Model, Ray, Replicas, Verbose


def serve(
    gallery: Annotated[
        list[Path] | None,
        typer.Option(
            help="Gallery to search, of photos or captions: its folder, the name of a collection, or demo. "
            "Repeatable: the page then lets you choose one, or searches all as one with --ray.",
            show_default="SHAN_GALLERY, the collection, else the bundled demo",
        ),
    ] = None,
    model: Model = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other machines can reach 0.0.0.0, which needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8750,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Name under which a proxy on this machine offers the page, such as photos.example.org; it needs a "
            "token. Repeatable.",
            show_default=False,
        ),
    ] = None,
    token: Annotated[
        str,
        typer.Option(
            envvar="SHAN_TOKEN",
            show_envvar=False,
            help="Answer only requests with this secret. Other users can see the command line, so set it in "
            "SHAN_TOKEN.",
            show_default=False,
        ),
    ] = "",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for thumbnails, of at most 512 MB.", show_default="in your folder for caches"),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    log_requests: Annotated[
        bool,
        typer.Option("--log-requests", help="Log every request with its query. By default, queries are not logged."),
    ] = False,
    ray: Ray = None,
    replicas: Replicas = 1,
    device: Device = "auto",
    backend: Backend = "auto",
    verbose: Verbose = False,
) -> None:
    """Serve a web page for searching on this machine: type, see photos, see why they were found, open them.

    Examples:

      shan-engine serve

      shan-engine serve --gallery pictures.gallery --open

      SHAN_TOKEN=$(openssl rand -hex 16) shan-engine serve --gallery pictures.gallery --host 0.0.0.0

      SHAN_TOKEN=$(openssl rand -hex 16) shan-engine serve --name photos.example.org

      shan-engine serve --gallery shards --ray auto --replicas 2

    Only this machine can reach the page unless you pass --host. Ctrl-C stops it when running requests have finished.
    """
    from shan_engine.base.optional import require

    require("serve", "starlette", "uvicorn", "prometheus_client")
    from shan_web.galleries import Galleries
    from shan_web.server import check_token
    from shan_web.server import serve as run

    check_token(host, token, name or [])
    if ray is not None:
        galleries = Galleries.of_shards(open_shards(gallery or [], model, device, backend, ray=ray, replicas=replicas))
    else:
        galleries = Galleries.open(gallery or [], model, device=device, backend=backend)
        for one in galleries:
            say(f"{len(one.engine):,} {one.kind} in {one.engine.path}")

    def ready(address: str, others: str) -> None:
        say(f"the page is at {address} (Ctrl-C stops it)")
        if others:
            say(f"other machines reach it at {others}")
        if open_page:
            import webbrowser

            webbrowser.open(address)

    try:
        run(
            galleries,
            host=host,
            port=port,
            names=name or [],
            token=token,
            cache=cache,
            log_requests=log_requests,
            on_ready=ready,
        )
    except KeyboardInterrupt:  # uvicorn has stopped, and raises the signal once more
        say("stopped")
