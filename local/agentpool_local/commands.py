"""The commands `agentpool dev` and `agentpool demo`: flags in, exit code out.

Only click and the standard library are imported here, for a fast `--help`; `dev` and `session` do the work.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path)
WRITTEN = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  agentpool dev
  agentpool dev my_agent:app
  agentpool dev my_agent:app --state .agentpool
  agentpool dev --redis redis://127.0.0.1:6379/0
  agentpool dev --node big,cpu=16,memory=64Gi,nvidia.com/gpu=8 --image my/agents=./my-agents

\b
Exit codes: 0 stopped, 1 a part failed, 2 wrong usage.
"""
)
@click.argument("app", required=False)
@click.option("--redis", "redis_url", metavar="URL", help="Use this Redis instead of starting one.")
@click.option("--redis-port", default=0, show_default="any free one", help="Port of the bundled Redis.")
@click.option("--api-port", default=0, show_default="any free one", help="Port of the Kubernetes API.")
@click.option("--gateway-port", default=0, show_default="any free one", help="Port of the HTTP API and the console.")
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NAME[,RESOURCE=N…]",
    help="A node and its resources, including GPUs; may be repeated.  [default: two nodes with 2 GPUs each]",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="NAME=DIR",
    help="Run pods of image NAME in directory DIR; may be repeated.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep jobs, token and addresses in DIR for the next start.  [default: nothing is kept]",
)
@click.option("--verbose", is_flag=True, help="Show every log line of every part immediately, including Redis.")
def dev(
    app: str | None,
    *,
    nodes: tuple[str, ...],
    images: tuple[str, ...],
    state: Path | None,
    verbose: bool,
    **places: Any,
) -> None:
    """Run the whole system on this machine until Ctrl-C.

    Starts Redis, a small Kubernetes cluster (no Docker needed), the operator, and the gateway with its console.
    Prints KUBECONFIG, REDIS_URL, the gateway's URL and token, and what to type next. Nothing is left behind at the end,
    except in the directory of --state: apply pools again after a restart, and their jobs go on.

    APP is module:attribute of an agentpool_worker.App in this directory. It gets an AgentPool, named after the module,
    and new workers whenever a .py file here changes.
    """
    from agentpool_local.app_pool import AppPool
    from agentpool_local.dev import run_dev
    from agentpool_local.stack.stack import NODES, StackOptions

    pool = AppPool.of(app, Path.cwd()) if app else None
    own_images = (pool.image,) if pool else ()
    options = StackOptions(
        nodes=nodes or NODES, images=(*own_images, *(_from_here(image) for image in images)), gateway=True, **places
    )
    asyncio.run(run_dev(options, app=pool, state=state and state.resolve(), verbose=verbose, say=click.echo))


def _from_here(image: str) -> str:
    """NAME=DIR with DIR made absolute, because the devcluster does not run in the user's directory."""
    name, equals, directory = image.partition("=")
    return f"{name}={Path(directory).resolve()}" if equals and directory else image


@click.command(
    epilog="""\b
Examples:
  agentpool demo
  agentpool demo --input ~/notes --report notes.md
  agentpool demo --json figures.json
  agentpool demo --kubeconfig "$KUBECONFIG" --redis "$REDIS_URL"   (beside agentpool dev)

\b
Exit codes: 0 every job succeeded, once; 1 not so; 2 wrong usage; 130 interrupted.
"""
)
@click.option(
    "--input",
    "directory",
    type=FILE,
    metavar="DIR",
    help="Work on the files in this directory.  [default: this checkout, else the current directory]",
)
@click.option("--report", type=WRITTEN, default="report.md", show_default=True, help="File for the agents' findings.")
@click.option("--json", "json_file", type=WRITTEN, metavar="FILE", help="File for the measured figures.")
@click.option("--kubeconfig", type=FILE, metavar="FILE", help="Run on this cluster, with its running operator.")
@click.option("--redis", "redis_url", metavar="URL", help="Use this Redis instead of starting one.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
def demo(  # noqa: PLR0917 - click passes every flag by name
    directory: Path | None,
    report: Path,
    json_file: Path | None,
    kubeconfig: Path | None,
    redis_url: str | None,
    keep: bool,  # noqa: FBT001
) -> int:
    """Run real agents on real files, with workers that come and go.

    One job for each file: source is measured, prose summarised, all else reasoned about, on three routes with limits
    of their own.
    """
    from agentpool_local.bundled import checkout
    from agentpool_local.demo.screen import open_screen
    from agentpool_local.demo.session import DemoOptions, run_demo

    options = DemoOptions(
        input=(directory or checkout() or Path.cwd()).resolve(),
        report=report.resolve(),
        json_file=json_file.resolve() if json_file else None,
        kubeconfig=kubeconfig,
        redis_url=redis_url,
        keep=keep,
    )
    return asyncio.run(run_demo(options, open_screen(sys.stdout)))
