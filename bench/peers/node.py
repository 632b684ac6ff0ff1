"""Peers for Node.js: the packages are installed into build/ by the first run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from bench.report import CannotRunError

NODE_PEERS = {"bullmq": {"bullmq": "6.7.0", "ioredis": "6.0.0"}}  # program: packages with versions
CHECKOUT = Path(__file__).parents[2]
PACKAGES = CHECKOUT / "build" / "npm-bench"


def install() -> dict[str, str]:
    """Install the packages if missing; return their versions. Raises CannotRunError."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise CannotRunError(f"{program} is missing: install Node.js 20 or later")
    packages = {name: version for peer in NODE_PEERS.values() for name, version in peer.items()}
    if not all(_is_installed(name, version) for name, version in packages.items()):
        wanted = [f"{name}@{version}" for name, version in packages.items()]  # npm removes those not named
        command = ["npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", str(PACKAGES), *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotRunError(f"npm could not install {', '.join(wanted)}: {done.stderr.strip()[-500:]}")
    return packages


def _is_installed(package: str, version: str) -> bool:
    file = PACKAGES / "node_modules" / package / "package.json"
    return file.is_file() and json.loads(file.read_text())["version"] == version


def command(peer: str, measure: str, *, redis_url: str, jobs: int) -> list[str]:
    """Return the command of a measure, to be run in the checkout's root."""
    program = str(Path(__file__).with_name(f"{peer}.mjs"))
    return ["node", program, measure, "--redis", redis_url, "--jobs", str(jobs)]
