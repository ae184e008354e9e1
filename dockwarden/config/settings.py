"""Settings of the process: every key with its type, default and meaning, and where they come from.

Input: flags, environment, secret files, a YAML file. Output: a frozen ``Settings``, or a ``ConfigError`` that names
each place. Out of bounds: policies, what a setting leads to. Precedence: flags, environment, secrets, file, defaults.
"""

import os
import re
from collections.abc import Mapping
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo
from pydantic.functional_validators import AfterValidator, BeforeValidator, field_validator, model_validator
from pydantic.json_schema import WithJsonSchema

from dockwarden.config import packs
from dockwarden.config.places import CONFIG_VARIABLE, PREFIX, Places, misspelt, quoted
from dockwarden.config.secret_files import merged, read_secrets
from dockwarden.config.source import Path as KeyPath
from dockwarden.config.source import load
from dockwarden.errors import ConfigError
from dockwarden.model import Kind, Mode, Severity
from dockwarden.reference import NO_REGISTRIES, may_match, parsed
from dockwarden.text import BOUND, DURATION, bound, duration

DEFAULT_FILE = Path("/etc/dockwarden/dockwarden.yaml")
_FIELDS = ("host", "summary", "worst", "findings", "link")
_PORT = "([0-9]{1,4}|[0-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_AT, _URL = rf"^(\[[^\]/\s]+\]|[^\]/:\s\[]+):{_PORT}$", r"^(https?://[^\s/]+(/\S*)?)?$"
_NUMBERS = {"integer": r"^\d+$", "number": r"^\d+(\.\d+)?$"}
_Word = Annotated[str, Field(min_length=1)]


def _as(pattern: str, advice: str, value: str) -> str:
    if not re.fullmatch(pattern, value):
        raise ValueError(advice)
    return value


_host_and_port = partial(_as, _AT, "write host:port, such as 127.0.0.1:9877 or [::]:9877")
_whole_url = partial(_as, _URL, "write it with http:// or https://")
_At = Annotated[str, AfterValidator(_host_and_port), WithJsonSchema({"type": "string", "pattern": _AT})]
_Url = Annotated[str, AfterValidator(_whole_url), WithJsonSchema({"type": "string", "pattern": _URL})]


def _seconds(value: object) -> object:
    return duration(value).total_seconds() if value not in (0, "0") else 0  # a bare 7 may be days to whoever writes it


Duration = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=Literal[0, "0"] | Annotated[str, Field(pattern=DURATION)]),
    Field(ge=0, json_schema_extra={"examples": ["30s", "10m", "24h"]}),
]

_Bytes = Literal[0] | Annotated[int, Field(ge=10**6)] | Annotated[str, Field(pattern=BOUND)]  # less needs its unit
Size = Annotated[int, BeforeValidator(bound, json_schema_input_type=_Bytes), Field(examples=["500MiB", "10GiB"])]


def _in_full(value: object) -> object:
    if isinstance(value, str) and value.strip()[:1] in ("", "~"):
        raise ValueError("write the path in full, beginning with /")
    return value


APath = Annotated[Path, BeforeValidator(_in_full, json_schema_input_type=Annotated[str, Field(pattern=r"^\s*[^~\s]")])]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_yes(cls, value: object, info: ValidationInfo) -> object:
        # Python counts with them, so `minimum_stay: false` would be none at all.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float, float | str):
            raise ValueError("must be a number or a duration, not yes or no")
        return value


class EngineSettings(_Section):
    """How the engine is asked. Where it is, ``DOCKER_HOST`` and its companions say."""

    timeout: Duration = Field(60.0, ge=1, description="how long one answer may take")
    event_window: Duration = Field(30.0, ge=1, le=600, description="a hung engine is noticed after this")


class WebSettings(_Section):
    """The HTTP server."""

    listen: _At = Field("127.0.0.1:9877", description="host:port of metrics, health, page and API; port 0 picks one")
    hosts: list[str] = Field([], description="names by which clients call it, with *, besides localhost and addresses")
    external_url: _Url = Field("", description="where people reach it, such as https://web-7.example.net/; in messages")
    config_file: APath | None = Field(None, description="TLS and passwords, in the format of Prometheus' exporters")
    finding_info: int = Field(0, ge=0, le=10_000, description="findings by name in the metrics; a series for each")
    running_image_info: int = Field(0, ge=0, le=10_000, description="running names and digests in them, as many series")

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @field_validator("hosts")
    @classmethod
    def _are_names(cls, value: list[str]) -> list[str]:
        if odd := [name for name in value if not name or set(name) & set("/ ") or name.count(":") == 1]:  # more: IPv6
            raise ValueError(f"{odd[0]!r}: write names alone, such as web-7.example.net or *.lan; no scheme, no port")
        return value


class LogSettings(_Section):
    """Logging, to stderr."""

    format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal, else json")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is written")


class ScheduleSettings(_Section):
    """Schedules of policies."""

    timezone: str = Field("", description="zone of cron lines, such as Europe/Berlin; empty: the host's")
    jitter: float = Field(0.05, ge=0, le=0.5, description="largest share of an interval by which a run may come later")

    @field_validator("timezone")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            _ = ZoneInfo(value) if value else None
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"no such time zone; try Europe/Berlin or UTC ({error})") from error
        return value

    @property
    def zone(self) -> tzinfo | None:
        """That of cron lines and dates, None for the host's."""
        return ZoneInfo(self.timezone) if self.timezone else None


class RegistrySettings(_Section):
    """One registry host."""

    http: bool | None = Field(None, description="plain HTTP; unset: only for loopback hosts")
    ca_file: APath | None = Field(None, description="PEM file of the authority (CA) that signed its certificate")
    username: str = Field("", description="user name; unset: what Docker's config.json says")
    password: SecretStr | None = Field(None, description="the password; better: password_file")
    password_file: APath | None = Field(None, description="a file that contains the password")
    concurrency: int = Field(3, ge=1, le=16, description="most requests at the same time")

    @model_validator(mode="after")
    def _is_one_login(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("set either password or password_file")
        if (self.password is not None or self.password_file is not None) and not self.username:
            raise ValueError("a password needs a username")
        return self


class UndoSettings(_Section):
    """How removals can be undone."""

    keep: Duration = Field(14 * 86400.0, description="how long a removal can be undone")
    max_bytes: Size = Field(10 << 30, description="of all archives in the state_dir together; 0: none are made")
    keep_free: Size = Field(2 << 30, description="an archive that would leave less of the disk free is not made")


class RetentionSettings(_Section):
    """How long the ledger keeps what is over, counted while dockwarden watches."""

    findings: Duration = Field(90 * 86400.0, description="findings that are resolved")
    digests: Duration = Field(400 * 86400.0, description="digests that a tag had")
    actions: Duration = Field(400 * 86400.0, description="what was done, once it can be undone no longer")
    most: int = Field(100_000, ge=1000, description="most rows of each of these, the newest")


class TriggerSettings(_Section):
    """When a policy runs on this host, instead of what its file says."""

    events: list[str] = Field([], description="changes, such as image.pull")
    schedule: str = Field("", description="a cron line of five fields")
    every: str = Field("", description="an interval, such as 6h")


class LimitSettings(_Section):
    """How much one run of a policy may touch on this host; what is left out is as the policy has it."""

    max_objects: int = Field(20, description="most objects that one run may act on")
    max_percent: float | str = Field(25.0, description="the same as a share of all objects of this kind")
    over: Literal["refuse", "take_first"] = Field("refuse", description="of a larger run: refuse it, or take_first")


class ProtectSettings(_Section):
    """What no policy acts on: names with * and ?; of images and tags whole or short, with a tag or without."""

    images: list[str] = Field([], description="images, by any of their names")
    tags: list[str] = Field([], description="tags, and so the images that they name")
    containers: list[str] = Field([], description="containers")
    volumes: list[str] = Field([], description="volumes")
    networks: list[str] = Field([], description="networks")

    @field_validator("*")
    @classmethod
    def _may_be_names(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if odd := [glob for glob in value if not may_match(str(info.field_name), glob)]:
            raise ValueError(f"{odd[0]!r} fits no name of {info.field_name}; write it as in web-* or *:latest")
        return value

    def by_kind(self) -> dict[Kind, tuple[str, ...]]:
        return {Kind(name.removesuffix("s")): tuple(globs) for name, globs in self}


class RouteSettings(_Section):
    """One route of notifications: who hears of what."""

    url: SecretStr | None = Field(None, description="address, as apprise writes it; better: url_file")
    url_file: APath | None = Field(None, description="a file that contains the address")
    severity: Severity = Field(Severity.INFO, description="lowest severity that is sent")
    policies: list[str] = Field(default=["*"], description="names of policies, with * and ?")
    events: list[Literal["opened", "resolved", "acted"]] = Field(
        default=["opened", "resolved", "acted"], description="which changes are sent"
    )
    title: str = Field("", description="template of the subject, such as '[{host}] {summary}'")
    body: str = Field("", description="template of the text, of {host}, {summary}, {worst}, {findings}, {link}")

    @field_validator("title", "body")
    @classmethod
    def _is_a_template(cls, value: str) -> str:
        try:
            for text in ("", "xx"):  # any of them may be empty, or not; by one letter another could be filled up
                value.format(**dict.fromkeys(_FIELDS, text))
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"braces may hold {', '.join(_FIELDS)}; for a brace write it twice") from error
        return value

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("set either url or url_file")
        return self


class NotifySettings(_Section):
    """Notifications."""

    wait: Duration = Field(10.0, ge=0, le=3600, description="changes within this time are sent as one message")
    routes: dict[str, RouteSettings] = Field({}, description="by a name of your choice")


class Settings(_Section):
    """All settings."""

    allow: Literal[Mode.AUDIT, Mode.ENFORCE] = Field(
        Mode.ENFORCE, description="the most that any policy may do here: audit, or enforce where it says so itself"
    )
    policies: list[_Word] = Field(
        [],
        description="packs (shipped, cis, baseline), files and folders; unset: shipped and /etc/dockwarden/policies",
    )
    params: dict[str, dict[str, Any]] = Field({}, description="by policy: values of its params on this host")
    modes: dict[str, Mode] = Field({}, description="by policy: its mode on this host")
    triggers: dict[str, TriggerSettings] = Field({}, description="by policy: when it runs on this host")
    limits: dict[str, LimitSettings] = Field({}, description="by policy: how much one run may touch on this host")
    protect: ProtectSettings = ProtectSettings.model_construct()
    minimum_stay: Duration = Field(3600.0, description="what has been watched for less than this is never removed")
    resync: Duration = Field(600.0, ge=1, description="everything is listed again at most this often")
    state_dir: APath = Field(Path("/var/lib/dockwarden"), description="folder of the ledger and of archives")
    undo: UndoSettings = UndoSettings.model_construct()
    retention: RetentionSettings = RetentionSettings.model_construct()
    engine: EngineSettings = EngineSettings.model_construct()
    web: WebSettings = WebSettings.model_construct()
    log: LogSettings = LogSettings.model_construct()
    schedule: ScheduleSettings = ScheduleSettings.model_construct()
    registries: dict[str, RegistrySettings] = Field({}, description="by host[:port]")
    notify: NotifySettings = NotifySettings.model_construct()

    _places: Places = PrivateAttr(default=Places())

    def come_from(self, places: Places) -> None:
        self._places = places

    def problem(self, path: KeyPath, reason: str) -> str:
        """What is wrong with the value at a path, with where it is written."""
        return self._places.problem(path, reason)

    @field_validator("policies", mode="before", json_schema_input_type=list[_Word] | str)
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, list) and any(isinstance(part, dict) for part in value):
            raise ValueError("names packs, files and folders; a policy is written in a file of its own")
        if isinstance(value, str) and value[:1] == "[":
            raise ValueError("has `:` between the paths, as in shipped:/etc/dockwarden/policies")
        return [part for part in value.split(":") if part] if isinstance(value, str) else value

    @field_validator("registries")
    @classmethod
    def _as_in_references(cls, value: dict[str, RegistrySettings]) -> dict[str, RegistrySettings]:
        for host in value:
            if (named := parsed(f"{host}/a/b")) is None or named.registry != host or host in NO_REGISTRIES:
                shown = repr(host.rpartition("@")[2])  # what stands before it is a password
                raise ValueError(f"{shown}: write hosts as in full references, docker.io or registry.example.com:5000")
        return value

    @field_validator("modes", mode="before")
    @classmethod
    def _yaml_off(cls, value: object) -> object:
        # YAML reads a bare `off` as false.
        return {n: "off" if mode is False else mode for n, mode in value.items()} if isinstance(value, dict) else value


_SECTIONS = {n for n, f in Settings.model_fields.items() if isinstance(f.default, _Section | dict)}


def schema() -> dict[str, Any]:
    """For editors; a section of which all is commented out is written without a value."""
    keys, sections = (shape := Settings.model_json_schema())["properties"], shape["$defs"]
    for field in [field for section in sections.values() for field in section.get("properties", {}).values()]:
        if (kind := field.get("type")) in _NUMBERS:  # also as text, as variables have them
            field |= {"type": [kind, "string"], "pattern": _NUMBERS[kind]}
    zones = [{"enum": ["", *sorted(available_timezones())]}, {"pattern": "^(posix|right)/"}]
    sections["ScheduleSettings"]["properties"]["timezone"]["anyOf"] = zones
    return {**shape, "properties": keys | {name: {"anyOf": [keys[name], {"type": "null"}]} for name in _SECTIONS}}


def read_settings(config: Path | None, *, audit: bool = False, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; ``config``: the file that a flag names. Raises ConfigError: with one problem per place.

    ``environ``: for ``DOCKWARDEN_CONFIG``, misspelt names and systemd's folders.
    """
    environ = os.environ if environ is None else environ
    named = config or environ.get(CONFIG_VARIABLE) or (DEFAULT_FILE if packs.is_there(DEFAULT_FILE) else None)
    source = load(Path(named)) if named else None
    secrets, named_by, unreadable = read_secrets(PREFIX, Settings, environ)
    problems = [*misspelt(Settings, environ), *unreadable]
    try:
        told = merged(secrets, _environment(environ))
    except ConfigError as error:
        raise ConfigError(*problems, *error.problems) from None
    places = Places(source, named_by | {name.upper(): f"environment {name}" for name in environ}, told)
    written = dict(source.data or {}) if source else {}
    # A section of which all is commented out is written without a value.
    written = {key: value for key, value in written.items() if value is not None or key not in _SECTIONS}
    values = merged(written, told)
    if "STATE_DIRECTORY" in environ:
        values.setdefault("state_dir", environ["STATE_DIRECTORY"].split(":")[0])
    try:
        settings = Settings(**values)
    except ValidationError as error:
        wrong = [places.fault(Settings, entry) for entry in error.errors(include_url=False)]
        raise ConfigError(*problems, *wrong) from None  # the library's text holds what stands there
    if problems:
        raise ConfigError(*problems)
    changes = {"policies": settings.policies or packs.default(), "allow": Mode.AUDIT if audit else settings.allow}
    settings = settings.model_copy(update=changes)
    settings.come_from(places)
    return settings


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """What variables of this process say. Raises ConfigError, which names the one by what ``environ`` holds."""
    if all(name.upper() == CONFIG_VARIABLE or not name.upper().startswith(PREFIX) for name in os.environ):
        return {}
    # Most hosts have a file only, and to import it is a seventh of what `check` takes.
    from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict  # noqa: PLC0415

    class Known(Settings, BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", defer_build=True)
        policies: Annotated[list[str], NoDecode] = []

    try:
        return EnvSettingsSource(Known)()
    except (ValueError, TypeError) as error:
        text = getattr(error.__cause__, "doc", None)  # the library names the section alone
        start = PREFIX + "".join(re.findall(r'field "(\w+)"', str(error))).upper()
        name = next((n for n, value in environ.items() if value == text and n.upper().startswith(start)), None)
        said = f'environment {name}: must be JSON, such as ["a"] or {{"a": "b"}}{quoted(text)}' if name else str(error)
        raise ConfigError(said) from None
