"""Settings of the programs that stay up (service, demo): one class, from flags, the environment and a file.

A flag wins over the environment (`HART_PORT=8080`), the environment over the file (`--settings FILE` or
`HART_SETTINGS`), the file over the default. The file is TOML or JSON; what stands in a table named after the program,
such as `[serve]`, is for that program alone.
"""

import json
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator

from hart.modules.cache_config import HARTCacheConfig
from hart.utils.command_line import Parser
from hart.utils.extras import need_extra

need_extra("serve", "hart.settings", "pydantic_settings")

from pydantic_settings import BaseSettings, CliSettingsSource, EnvSettingsSource, SettingsConfigDict  # noqa: E402

if TYPE_CHECKING:
    from hart.pipeline import HARTPipeline
    from hart.pipeline.pipeline import SafetyChecker

PREFIX = "HART_"


class Settings(BaseSettings):
    """What every such program needs: the model, how it paints, and where the program listens.

    A program subclasses it, sets `program` to its own name, adds fields with descriptions, and may change defaults.

    Raises:
        pydantic.ValidationError: a value that does not fit; `load_settings` turns it into one sentence.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, cli_hide_none_type=True)
    program: ClassVar[str] = "hart"
    # Settings that no flag may hold, because flags are seen by every user of the machine.
    secret: ClassVar[frozenset[str]] = frozenset()

    model_path: Path | None = Field(None, description="checkpoint folder; the embedded model by default")
    text_model_path: Path | None = Field(None, description="text_encoder beside the checkpoint's llm by default")
    device: str | None = Field(None, description="cpu, cuda, cuda:N or mps; the fastest there is by default")
    dtype: str | None = Field(None, description="float32, bfloat16 or float16; what the device is fast in by default")
    cache: str | None = Field(None, description="stage cache: a preset's name or a JSON file of settings")
    guidance_scale: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="how strongly prompts steer; the model's own by default"
    )
    safety_checker: str | None = Field(
        None, description="MODULE:FUNCTION that gets a list of prompts and returns for each whether to refuse it"
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 is every network of this machine")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")

    @field_validator("safety_checker")
    @classmethod
    def _names_a_function(cls, value: str | None) -> str | None:
        module, _, function = (value or "m:f").partition(":")
        if not module or not function.isidentifier():
            raise ValueError("MODULE:FUNCTION")
        return value

    def cache_config(self) -> HARTCacheConfig | str | None:
        """Return the stage cache's settings as a pipeline takes them; a name that ends in `.json` is a file."""
        if self.cache is not None and self.cache.endswith(".json"):
            return HARTCacheConfig.from_json(self.cache)
        return self.cache

    def load_safety_checker(self) -> "SafetyChecker | None":
        """Import the safety checker.

        Raises:
            ValueError: there is no such module or function.
        """
        if self.safety_checker is None:
            return None
        module, _, function = self.safety_checker.partition(":")
        try:
            checker: SafetyChecker = getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"safety_checker must be importable, got {self.safety_checker!r} ({error}).") from error
        return checker

    def load_pipeline(self) -> "HARTPipeline":
        """Load the model.

        Raises:
            FileNotFoundError, ValueError: one sentence on what is missing or does not fit.
        """
        from hart.pipeline import HARTPipeline  # here: help and bad settings should not wait for torch

        return HARTPipeline.from_pretrained(
            self.model_path,
            self.text_model_path,
            self.dtype,
            self.device,
            safety_checker=self.load_safety_checker(),
            progress=False,
            cache=self.cache_config(),
        )


AnySettings = TypeVar("AnySettings", bound=Settings)


def load_settings(
    cls: type[AnySettings], argv: Sequence[str] | None = None, description: str | None = "", name: str | None = None
) -> AnySettings:
    """Read a program's settings from flags, the environment and a file.

    Args:
        cls: the program's class.
        argv: flags; None is those of this process.
        description: of the program, for `--help`.
        name: what the command line calls the program; None is `python -m hart.` and its own name.

    Raises:
        ValueError: one sentence: a value that does not fit, or a file that is none.
        SystemExit: `--help`, or a flag that does not exist.
    """
    parser = Parser(prog=name or f"python -m hart.{cls.program}", description=description, allow_abbrev=False)
    parser.add_argument("--settings", metavar="FILE", help="TOML or JSON file of settings (or HART_SETTINGS)")
    flags = sys.argv[1:] if argv is None else list(argv)
    source: Any = CliSettingsSource(cls, root_parser=parser, cli_implicit_flags=True, cli_exit_on_error=True)
    file = parser.parse_args(flags).settings or os.environ.get(f"{PREFIX}SETTINGS")
    given = source(args=flags)()
    given.pop("settings", None)
    shown = cls.secret & set(given)
    if shown:
        name = min(shown)
        raise ValueError(f"{name} must be given as {PREFIX}{name.upper()} or in the file, got a flag.")
    values = (_from_file(cls.program, Path(file)) if file else {}) | EnvSettingsSource(cls)() | given
    try:
        return cls(**values)
    except ValidationError as error:
        raise ValueError(_sentence(error)) from None


def _from_file(program: str, path: Path) -> dict[str, Any]:
    """A file's values, those of the program's own table on top; other programs' tables are left out."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ValueError(f"settings must be a readable TOML or JSON file, got {str(path)!r} ({error}).") from error
    if not isinstance(values, dict):
        raise ValueError(f"settings must hold names and values, got a {type(values).__name__} in {str(path)!r}.")
    shared = {name: value for name, value in values.items() if not isinstance(value, dict)}
    own: dict[str, Any] = values.get(program, {})
    return shared | own


def _sentence(error: ValidationError) -> str:
    """The first fault as one sentence; the value of a secret is not shown."""
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"{name} must be left out: there is no such setting."
    value = "***" if isinstance(fault["input"], SecretStr) else repr(fault["input"])
    return f"{name} must be {wanted(fault)}, got {value}." if name else f"{wanted(fault)}."


def wanted(fault: Any) -> str:
    """Return what a value must be, from an entry of `ValidationError.errors()`, to stand after "must be"."""
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return re.sub(r"^\w+ should have ", "a value with ", message)
