"""``rfprune ui``: the MLflow server as ``mlflow.yml`` says."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["ui"]


def ui(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; as mlflow.yml says if not given."),
    ] = None,
) -> None:
    """Start the MLflow server as mlflow.yml says, and print its address.

    Example: rfprune ui --port 5001
    """
    from rfprune.tracking import load_config, serve

    config = load_config()
    if port is not None:
        config = config.model_copy(
            update={"server": config.server.model_copy(update={"port": port})}
        )
    serve(config)
