"""Parts of which one call fails, to try what a deed of several calls leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from dockwarden.errors import EngineError


class Faulty:
    """Some parts, of which one call fails: before anything was done, or when all was and only the answer got lost."""

    def __init__(self, at: int, error: type[EngineError], *, is_done: bool) -> None:
        self._at, self._error, self._is_done = at, error, is_done
        self.calls = 0

    def part(self, real: object, error: type[Exception] | None = None) -> Any:
        return _Part(self, real, error or self._error)

    def call(self, method: Callable[..., object], error: type[Exception], *given: Any, **named: Any) -> object:
        self.calls += 1
        if self.calls != self._at:
            return method(*given, **named)
        if self._is_done:
            method(*given, **named)
        raise error("it failed")


class _Part:
    def __init__(self, faulty: Faulty, real: object, error: type[Exception]) -> None:
        self._faulty, self._real, self._error = faulty, real, error

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return (
            (lambda *given, **named: self._faulty.call(found, self._error, *given, **named))
            if callable(found)
            else found
        )
