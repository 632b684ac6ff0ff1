"""Import a module from a changed text. The checkout and the caches of bytecode stay as they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType


class _Loader(SourceFileLoader):
    """Load the changed text under the path of the module."""

    def __init__(self, fullname: str, path: str, text: str) -> None:
        super().__init__(fullname, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        """Compile the changed text."""
        del fullname
        return compile(self._text, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Find only the changed module, at its usual place."""

    def __init__(self, module: str, text: str) -> None:
        self._module = module
        self._text = text

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the usual place with the changed text."""
        if fullname != self._module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._text)
        return spec


def install(module: str, text: str) -> None:
    """Let the next import of the module run this text."""
    sys.meta_path.insert(0, _Finder(module, text))


def forget(*packages: str) -> None:
    """Let the next imports of these packages and all their modules run again."""
    for name in list(sys.modules):
        if name.startswith(packages):
            del sys.modules[name]
