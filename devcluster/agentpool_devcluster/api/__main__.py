"""Start the API server alone: `python -m agentpool_devcluster.api --kubeconfig FILE`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from agentpool_devcluster.api.http.server import ApiServer, ServerSettings
from agentpool_devcluster.api.kubeconfig import write_kubeconfig


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port to listen on; 0: any free port.")
@click.option("--kubeconfig", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), help="File that gets a line a request.")
def main(host: str, port: int, kubeconfig: Path, record: Path | None) -> None:
    """Run the devcluster's API server until interrupted."""
    try:
        asyncio.run(_serve(ServerSettings(host=host, port=port, record=record), kubeconfig))
    except OSError as error:
        raise click.ClickException(str(error)) from error


async def _serve(settings: ServerSettings, path: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with ApiServer(settings) as server:
        write_kubeconfig(path, server.admin_url, server.tokens.admin_token)
        click.echo(str(path))
        await stop.wait()


if __name__ == "__main__":
    main()
