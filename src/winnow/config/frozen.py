"""The base of all sections of the experiment file, and a text that stands for a mapping with one key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function


class Frozen(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Open(Frozen):
    """A frozen value whose other keys are options of what it names."""

    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        """The other keys."""
        return dict(self.model_extra or {})


@dataclass(frozen=True)
class Shorthand:
    """Lets a text stand for a mapping with one key: `adam` for `{type: adam}`. The JSON schema has both forms."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def expand(value: Any) -> Any:
            return {self.key: value} if isinstance(value, str) else value

        return no_info_before_validator_function(expand, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        mapping = handler(schema)
        forms = mapping.get("anyOf", [mapping])
        model = handler.resolve_ref_schema(next(form for form in forms if "$ref" in form))
        text = {
            name: value for name, value in model["properties"][self.key].items() if name not in ("default", "title")
        }
        return {"anyOf": [text, *forms]}


def checked(is_right: Callable[[Any], bool], expected: str) -> BeforeValidator:
    """Refuse a value by what it should be, before pydantic looks at it."""

    def check(value: Any) -> Any:
        if not is_right(value):
            raise ValueError(expected)
        return value

    return BeforeValidator(check)


ListAsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""Where a validator runs before its section, pydantic no longer knows that a list comes from JSON."""

NameOrMapping = Shorthand("type")
