"""Run a program with volumes at the container's mount paths: a tiny launcher for Linux.

The launcher enters a new mount namespace, binds each volume's directory to its mount path, and executes the program.
The mounts are invisible to the rest of the host, and vanish with the last process. A missing mount path is created in a
stand-in for its nearest existing parent: a tmpfs into which all entries of that parent are bound, so the host's
directories are never touched. Sources and the working directory are opened first, so that a volume mounted at /tmp may
hide their location; the directories of the container's image are mounted again where a volume hides them. Run as a
script, on the standard library alone; the node side is `mounts`.

Arguments: a JSON list of [source, target, read-only], a JSON list of the image's directories, a staging directory, the
working directory, then the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
_KEPT_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC  # the kernel refuses to loosen these in a remount

EXIT_CANNOT_MOUNT = 125  # as container runtimes answer when the container could not be made
EXIT_CANNOT_START = 127

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    """Attach a file system; raises OSError naming the target."""
    encoded_kind = kind.encode() if kind else None
    if _libc.mount(source.encode(), target.encode(), encoded_kind, ctypes.c_ulong(flags), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def enter_namespace() -> None:
    """Leave the host's mount table, through a user namespace where we are not allowed to directly."""
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(CLONE_NEWNS) != 0:
        if _libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "mount namespace")
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def bind(source: Path, target: Path, *, read_only: bool) -> None:
    """Show `source` at `target`, which exists."""
    mount(str(source), str(target), None, MS_BIND | MS_REC)
    if read_only:
        kept = os.statvfs(target).f_flag & _KEPT_FLAGS
        mount("none", str(target), None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def place_for(source: Path, target: Path, staging: Path, ours: set[Path]) -> None:
    """Create the missing mount point `target`, a directory or a file like `source`.

    `ours` holds the container's own directories, in which entries may be created.
    """
    if target.exists():
        return
    missing = [target]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    parent = missing[-1].parent
    if parent not in ours:
        stand_in(parent, staging)
        ours.add(parent)
    for directory in reversed(missing[1:]):
        directory.mkdir()
        ours.add(directory)
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()


def stand_in(directory: Path, staging: Path) -> None:
    """Replace the directory by a tmpfs that shows all entries and accepts new entries."""
    copy = staging / "stage"
    copy.mkdir(exist_ok=True)
    mount("tmpfs", str(copy), "tmpfs", 0)
    for entry in sorted(directory.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # removed since the directory was read
            show(entry, copy / entry.name)
    if directory == Path("/"):
        os.chroot(copy)
        os.chdir("/")
    else:
        mount(str(copy), str(directory), None, MS_BIND | MS_REC)


def show(entry: Path, twin: Path) -> None:
    """Show the content of an entry at a second place."""
    if entry.is_symlink():
        twin.symlink_to(entry.readlink())
    elif entry.is_dir():
        twin.mkdir()
        mount(str(entry), str(twin), None, MS_BIND | MS_REC)
    else:
        twin.touch()
        mount(str(entry), str(twin), None, MS_BIND)


def held(path: str) -> Path:
    """Return a path to the same file or directory that stays valid when a mount hides its name."""
    return Path(f"/proc/self/fd/{os.open(path, os.O_PATH)}")


def mount_all(wanted: list[tuple[str, str, bool]], image: list[str], staging: Path) -> None:
    """Mount each source at its target, outer targets first; then remount hidden directories of the image."""
    sources = [held(source) for source, _, _ in wanted]
    kept = [(Path(directory), held(directory)) for directory in image]
    ours: set[Path] = set()
    for source, (_, target, read_only) in zip(sources, wanted, strict=True):
        place_for(source, Path(target), staging, ours)
        bind(source, Path(target), read_only=bool(read_only))
        if not read_only:
            ours.add(Path(target))
    for directory, source in kept:
        if not directory.exists():
            place_for(source, directory, staging, ours)
            bind(source, directory, read_only=False)


def main() -> None:
    """Mount, then become the command."""
    wanted, image, staging, directory, *command = sys.argv[1:]
    try:
        enter_namespace()
        start = held(directory) if Path(directory).is_dir() else None
        mount_all(json.loads(wanted), json.loads(image), held(staging))
    except OSError as error:
        sys.stderr.write(f"the volume cannot be mounted: {error}\n")
        raise SystemExit(EXIT_CANNOT_MOUNT) from error
    try:
        # The volume's content has the name now; the hidden content stays reachable through the held path.
        os.chdir(directory if start is None or Path(directory).is_dir() else start)
        os.execvp(command[0], command)  # noqa: S606 - the container's own program takes this process over
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error}\n")
        raise SystemExit(EXIT_CANNOT_START) from error


if __name__ == "__main__":
    main()
