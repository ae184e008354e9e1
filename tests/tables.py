"""One test for a whole table of examples, where one for each would cost more than what it does.

Role: what `pytest.mark.parametrize` is elsewhere. In: names, rows. Out: one test, whose failure names every row that
fails. Out of bounds: rows that need a fixture each, and rows that somebody may want to choose.
"""

from __future__ import annotations

import functools
import inspect
import random
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def each(names: str | tuple[str, ...], rows: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The decorated test holds for each row, in any order; several names have as many values in a row."""
    words, table = names.replace(",", " ").split() if isinstance(names, str) else names, list(rows)
    assert table, "nothing is tested"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def hold(**fixtures: object) -> None:
            failed: list[BaseException] = []
            for row in random.sample(table, len(table)):
                values = [row] if len(words) == 1 else row
                try:
                    test(**fixtures, **dict(zip(words, values, strict=True)))
                except (AssertionError, pytest.fail.Exception, BaseExceptionGroup) as error:
                    error.add_note(f"with {row!r}")
                    failed.append(error)
                except Exception as error:
                    error.add_note(f"with {row!r}")
                    raise
            if failed:
                raise BaseExceptionGroup(f"{len(failed)} of {len(table)}", failed)

        parameters = inspect.signature(test).parameters.values()
        hold.__dict__["__signature__"] = inspect.Signature([one for one in parameters if one.name not in words])
        return hold

    return decorate
