"""`agentpool stream`: print the output of a job as it comes, until the job has ended."""

from __future__ import annotations

import json

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.output_text import OutputText
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.documents import chunk_document
from agentpool_core.jobs import JobId

EPILOG = (
    """\b
Examples:
  agentpool stream 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool stream 0193f6c2a1b-9f86d081 -o json | jq .value

Texts are printed one after another, as a model writes them; other values as a line of JSON each. A line marks the
output of a further run of the handler, which may repeat the output of an earlier run. `agentpool logs` prints the
output with the log lines."""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@click.argument("job")
@pool_options
@click.option("--after", default="0", help="Only chunks after this id. Default: all that are kept.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one object a line.")
def stream(*, job: str, target: Target, after: str, output: str) -> None:
    """Print the output of a JOB, which its handler emits."""
    run(_print(target, JobId(job), after, as_lines=output == "json"))


async def _print(target: Target, job_id: JobId, after: str, *, as_lines: bool) -> None:
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        text = OutputText()
        async for chunk in Inspector(redis).chunks(target.pool, job_id, after=after):
            if as_lines:
                say(json.dumps(chunk_document(chunk), ensure_ascii=False))
            else:
                text.show(chunk)
        text.end_line()
