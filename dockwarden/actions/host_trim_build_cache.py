"""host trim_build_cache: what was least recently used goes; nothing brings it back. Pure but for its tools."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from dockwarden.actions.archive import ArchiveError
from dockwarden.actions.verb import Applied, DurationIfAny, Gain, Losable, Tools, Verb
from dockwarden.model import Kind, Recipe, Step
from dockwarden.text import BOUND, bound

_EITHER: Any = {"anyOf": [{"required": ["max_used_space"]}, {"required": ["unused_for"]}]}
_Bytes = Annotated[int, Field(ge=0, json_schema_extra={"not": {"minimum": 1, "maximum": 999_999}})]
_Text = Annotated[str, Field(pattern=BOUND)]


class Options(Losable):
    """How much may be left, how long unused."""

    model_config = ConfigDict(json_schema_extra=_EITHER)
    max_used_space: Annotated[int | None, BeforeValidator(bound, json_schema_input_type=_Bytes | _Text)] = None
    unused_for: DurationIfAny = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.max_used_space is None and not self.unused_for:
            raise ValueError("needs how much may be left: {trim_build_cache: {max_used_space: 20GB}}")
        return self


class TrimBuildCache(Verb[None]):
    """Remove build cache that was not used for long, then what was not used for longest until the rest fits."""

    subject, name = Kind.HOST, "trim_build_cache"
    options = Options
    removes = False
    gain = Gain.UNTOLD

    def recipe(self, tools: Tools, step: Step, found: None) -> Recipe:
        raise ArchiveError("build cache cannot be brought back")

    def act(self, tools: Tools, step: Step, found: None) -> Applied:
        unused, most = step.options.get("unused_for"), step.options.get("max_used_space")
        said = tools.engine.trim_build_cache(unused_seconds=unused.total_seconds()) if unused else 0
        said += tools.engine.trim_build_cache(most) if most is not None else 0
        return Applied("trimmed", f"the engine says {said} bytes")

    def is_undone(self, recipe: Recipe, now: None) -> bool:
        """How far it came cannot be told; it can be asked for again."""
        return True
