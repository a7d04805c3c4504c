"""`HARTCacheConfig`: which branches may reuse an earlier stage's output, and when.

A stage is named by its token count: `patch_nums = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)` has the stages 1, 4, 9, 16, 25,
36, 64, 100, 169 and 256. A branch is the attention ("attn") or the MLP ("mlp") of one layer.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hart.modules.cache.config_checks import (
    DEFAULT_STAGES,
    check_layers,
    check_names,
    check_stages,
    check_together,
    check_values,
)
from hart.modules.cache.presets import FILE_NAME, preset_fields, read_presets
from hart.modules.cache.registries import known_names
from hart.modules.cache.registry import unknown
from hart.utils.files import read_json, write_whole
from hart.utils.numbers import as_python

StrPath = str | os.PathLike[str]


@dataclass
class HARTCacheConfig:
    """Settings of the stage cache.

    Args:
        skip_stages: stages at which a branch may reuse instead of computing. More, and later, stages: faster, and
            further from the picture without cache.
        cache_stages: stages whose branch outputs are kept for later stages. More of them: a nearer source, more memory.
        enable_attn_cache: attention may reuse.
        enable_mlp_cache: the MLP may reuse.
        threshold: reuse only where the similarity estimate is at least this. Higher: fewer hits, slower, closer; 0
            reuses always, 1 practically never.
        adaptive_threshold: the threshold follows the similarities seen, so that typical inputs reuse, outliers compute.
        interpolation_mode: 'bilinear', 'nearest', 'bicubic', 'area' or a registered name.
        calibration_samples: pictures that `calibrate_thresholds()` paints when not told otherwise.
        similarity_window: how many recent similarities the adaptive threshold looks at. Higher: steadier.
        refresh_ratio: stage to the part of its tokens that is computed there although the stage is skipped; 0 where a
            stage is not named. Higher: slower, closer; 1 computes all.
        unselected: what tokens that are not refreshed contribute: 'reuse' the stored output, or 'nothing'. With
            'nothing' they are not run at all where every branch may be spared, and thresholds are held against the
            change of the latent map, for the whole stage; soft codes, and a choice of tokens by row or by branch, are
            refused.
        token_selector: which tokens are refreshed: 'fastvar', 'change', 'centred_change', 'fhat_cosine', 'edge',
            'random' or a registered name.
        select_per_branch: select before every branch from its own input, as FastVAR does, instead of once per stage.
        select_per_row: guided and unguided rows may refresh different tokens, as in FastVAR.
        reuse_codes: codes of reused tokens: 'sampled', or 'soft' for the expected embedding.
        drop_stages: stages that are not run at all; the picture keeps what it has. The control for every other setting.
        unguided_from: stage from which on guidance is left out: the unconditional rows are not run, about half of the
            work, and codes are drawn from the conditional logits. None for never.
        attn_kv: keys and values of tokens whose attention is reused: 'append' them for later stages, or 'drop' them.
        estimator: 'calibrated' reads similarities from a table, 'online' estimates them during the run, 'auto' takes
            the table where one is loaded.
        similarity_metric: 'cosine', 'centred_cosine', 'relative_l2' or a registered name.
        sim_path: JSON file of the calibrated table.
        attn_threshold: threshold of attention; None for `threshold`.
        mlp_threshold: threshold of the MLP; None for `threshold`.
        threshold_schedule: how the threshold depends on stage, layer and branch: 'constant', 'rising', 'mlp_stricter'
            or a registered name.
        adaptive_range: how far the adaptive threshold may leave the configured one.
        layers: layers that may reuse; None for all.
        attn_layers: the same for attention alone; None for `layers`.
        mlp_layers: the same for the MLP alone; None for `layers`.
        first_layers: this many first layers always compute.
        corrector_layers: this many last layers always compute. Higher: slower, closer.
        memory_budget_mb: most that stored maps may take, in 2**20 bytes; None for no limit. Lower: less memory, more
            misses.
        eviction: which map goes first when the budget is short: 'oldest', 'largest', 'coarsest', 'unused' or a
            registered name.
    """

    skip_stages: list[int] = field(default_factory=list)
    cache_stages: list[int] = field(default_factory=list)
    enable_attn_cache: bool = True
    enable_mlp_cache: bool = True
    threshold: float = 0.7
    adaptive_threshold: bool = False
    interpolation_mode: str = "bilinear"
    calibration_samples: int = 100
    similarity_window: int = 20
    _: KW_ONLY
    refresh_ratio: dict[int, float] = field(default_factory=dict)
    unselected: str = "reuse"
    token_selector: str = "fastvar"
    select_per_branch: bool = False
    select_per_row: bool = False
    reuse_codes: str = "sampled"
    drop_stages: list[int] = field(default_factory=list)
    unguided_from: int | None = None
    attn_kv: str = "append"
    estimator: str = "auto"
    similarity_metric: str = "cosine"
    sim_path: str | None = None
    attn_threshold: float | None = None
    mlp_threshold: float | None = None
    threshold_schedule: str = "constant"
    adaptive_range: float = 0.2
    layers: list[int] | None = None
    attn_layers: list[int] | None = None
    mlp_layers: list[int] | None = None
    first_layers: int = 0
    corrector_layers: int = 0
    memory_budget_mb: float | None = None
    eviction: str = "oldest"

    def __post_init__(self) -> None:
        """Own copies of lists and dicts, Python's own numbers, stages as whole numbers after JSON, paths as text.

        Nothing is judged here.
        """
        for name, value in vars(self).items():
            setattr(self, name, as_python(value))
        if isinstance(self.refresh_ratio, Mapping):
            self.refresh_ratio = {_as_stage(stage): ratio for stage, ratio in self.refresh_ratio.items()}
        if isinstance(self.sim_path, os.PathLike):
            self.sim_path = os.fspath(self.sim_path)

    # -- checks ------------------------------------------------------------------------------------------------------

    def validate(
        self,
        stages: Sequence[int] | None = None,
        registries: Mapping[str, Collection[str]] | None = None,
        depth: int | None = None,
    ) -> None:
        """Check every field.

        Args:
            stages: token counts of the model's stages, rising; default the ten of the 256 px model.
            registries: known names by field; default everything shipped or registered so far.
            depth: number of layers of the model; layers are checked against it where it is given.

        Raises:
            ValueError: one sentence that names the field, its value and what is allowed.
        """
        check_values(self)
        check_names(self, known_names() if registries is None else registries)
        check_stages(self, DEFAULT_STAGES if stages is None else stages)
        check_together(self)
        if depth is not None:
            check_layers(self, depth)

    @property
    def needs_source(self) -> bool:
        """Whether something is skipped that takes an earlier stage's output."""
        return bool(self.skip_stages) and self.unselected == "reuse" and self.enables_a_branch

    @property
    def enables_a_branch(self) -> bool:
        return self.enable_attn_cache or self.enable_mlp_cache

    @property
    def changes_nothing(self) -> bool:
        """Whether painting with this config is painting without one."""
        skips = bool(self.skip_stages) and self.enables_a_branch
        return not (skips or self.drop_stages or self.unguided_from)

    def may_reuse(self, branch: str, layer: int, depth: int) -> bool:
        """Whether a branch ("attn" or "mlp") of this layer may reuse, in a model of `depth` layers."""
        enabled, own = {
            "attn": (self.enable_attn_cache, self.attn_layers),
            "mlp": (self.enable_mlp_cache, self.mlp_layers),
        }[branch]
        allowed = self.layers if own is None else own
        inside = self.first_layers <= layer < depth - self.corrector_layers
        return enabled and inside and (allowed is None or layer in allowed)

    def base_threshold(self, branch: str) -> float:
        """The configured threshold of a branch ("attn" or "mlp"), before schedule and adaptation."""
        own = {"attn": self.attn_threshold, "mlp": self.mlp_threshold}[branch]
        return self.threshold if own is None else own

    # -- presets -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_preset(cls, name: str, patch_nums: Sequence[int] | None = None) -> "HARTCacheConfig":
        """A named starting point from `hart_cache_presets.json`.

        Args:
            name: one of `preset_names()`.
            patch_nums: sides of the model's token maps. The preset's stages are written for the ten-stage pyramid and
                move by rank counted from the last stage; ranks that a shorter pyramid lacks are left out. On a pyramid
                of more than ten stages the ratios that the preset holds ready for it apply. None keeps the numbers.

        Raises:
            ValueError: unknown name, or a pyramid so short that the preset would reuse nothing.
        """
        fields = preset_fields(name, patch_nums)
        try:
            return cls.from_dict(fields)
        except ValueError as error:
            raise ValueError(f"preset {name!r} in {FILE_NAME}: {error}") from error

    @classmethod
    def fitting_presets(cls, patch_nums: Sequence[int]) -> "dict[str, HARTCacheConfig]":
        """By name, all presets that fit a pyramid and change something on it."""
        found: dict[str, HARTCacheConfig] = {}
        for name in cls.preset_names():
            with contextlib.suppress(ValueError):
                found[name] = cls.from_preset(name, patch_nums=patch_nums)
        return {name: config for name, config in found.items() if not config.changes_nothing}

    @staticmethod
    def preset_names() -> list[str]:
        """Names for `from_preset`, from the most careful to the fastest."""
        return list(read_presets()["presets"])

    # -- files -------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values; stages that are keys become text, as JSON has them."""
        content = asdict(self)
        if isinstance(self.refresh_ratio, dict):
            content["refresh_ratio"] = {str(stage): ratio for stage, ratio in self.refresh_ratio.items()}
        return content

    def changes(self) -> dict[str, Any]:
        """The fields that differ from the defaults, as `to_dict` has them; `from_dict` takes them, too."""
        plain = type(self)().to_dict()
        return {name: value for name, value in self.to_dict().items() if value != plain[name]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "HARTCacheConfig":
        """The opposite of `to_dict`; fields that are missing (an older version wrote them) take their defaults.

        Raises:
            ValueError: an unknown field, or a value of a wrong type or out of range. Stages and registered names are
                left to `validate`, which knows the model.
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"a cache configuration is {content!r}; allowed is a JSON object of its fields.")
        known = [entry.name for entry in fields(cls)]
        for name in content:
            if name not in known:
                raise ValueError(unknown("field", name, known))
        config = cls(**content)
        check_values(config)
        return config

    def to_json(self, path: StrPath) -> None:
        """Save; an interrupted save leaves the old file as it was.

        Raises:
            ValueError: a value of a wrong type or out of range; nothing is written.
        """
        check_values(self)
        content = self.to_dict()
        if self.sim_path is not None and Path(self.sim_path).is_absolute():
            # By its name where it lies beside, so that the folder can be moved.
            folder, table = Path(path).absolute().parent, Path(self.sim_path)
            content["sim_path"] = table.name if table.parent == folder else self.sim_path
        write_whole(path, json.dumps(content, indent=2, allow_nan=False) + "\n")

    @classmethod
    def from_json(cls, path: StrPath) -> "HARTCacheConfig":
        """Load what `to_json` of this or an older version saved.

        A relative `sim_path` is looked for beside the file, then in the working directory; what is found is remembered
        as an absolute path.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not JSON, an unknown field, or a wrong value; the message names the file.
        """
        try:
            config = cls.from_dict(read_json(path))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
        if config.sim_path is not None:
            beside = Path(path).absolute().parent / config.sim_path
            found = next((file for file in (beside, Path(config.sim_path)) if file.is_file()), None)
            config.sim_path = config.sim_path if found is None else str(found.absolute())
        return config

    # -- words -------------------------------------------------------------------------------------------------------

    def run_tag(self) -> str:
        """A file name's worth of settings, such as `hart-skip169+256_src100+169_t0.70_bilinear`.

        The first fields always show; of the others those that differ from their defaults.
        """
        parts = []
        if self.skip_stages and self.enables_a_branch:
            parts += [f"skip{_joined(self.skip_stages)}", f"src{_joined(self.cache_stages)}"]
            parts += [f"t{self.threshold:.2f}", self.interpolation_mode]
            if not (self.enable_attn_cache and self.enable_mlp_cache):
                parts.append("attn" if self.enable_attn_cache else "mlp")
            if self.adaptive_threshold:
                parts.append("adaptive")
            parts += self._further_parts()
        if self.drop_stages:
            parts.append(f"drop{_joined(self.drop_stages)}")
        if self.unguided_from:
            parts.append(f"unguided{self.unguided_from}")
        return "hart-" + ("_".join(parts) or "nocache")

    def describe(self) -> str:
        """One sentence for people: what is skipped, from what, and when."""
        if self.changes_nothing:
            return "Every branch is computed."
        sentences = []
        if self.skip_stages and self.enables_a_branch:
            branches = [n for n, on in (("attention", self.enable_attn_cache), ("MLP", self.enable_mlp_cache)) if on]
            kind = "adaptive threshold" if self.adaptive_threshold else "threshold"
            sentences.append(
                f"At stages {_listed(self.skip_stages)}, {' and '.join(branches)} may reuse what stages "
                f"{_listed(self.cache_stages)} left ({kind} {self.threshold:g}, {self.interpolation_mode})"
            )
        if self.refresh_ratio and sentences:
            ratios = ", ".join(f"{ratio:.0%} at {stage}" for stage, ratio in sorted(self.refresh_ratio.items()))
            rest = "reuse" if self.unselected == "reuse" else "add nothing"
            sentences.append(f"tokens computed all the same: {ratios} by {self.token_selector}, the others {rest}")
        if self.drop_stages:
            sentences.append(f"stages {_listed(self.drop_stages)} are not run")
        if self.unguided_from:
            sentences.append(f"from stage {self.unguided_from} on there is no guidance")
        text = "; ".join(sentences)
        return f"{text[0].upper()}{text[1:]}."

    def _further_parts(self) -> list[str]:
        shown = {"skip_stages", "cache_stages", "enable_attn_cache", "enable_mlp_cache", "threshold"}
        shown |= {"adaptive_threshold", "interpolation_mode", "drop_stages", "unguided_from"}
        default, parts = HARTCacheConfig(), []
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name not in shown and value != getattr(default, entry.name):
                parts.append(f"{entry.name.replace('_', '')}{_slug(value)}")
        return parts


def _as_stage(key: Any) -> Any:
    return int(key) if isinstance(key, str) and key.isascii() and key.isdigit() else key


def _joined(stages: Sequence[int]) -> str:
    return "+".join(str(stage) for stage in sorted(stages)) or "none"


def _listed(stages: Sequence[int]) -> str:
    return ", ".join(str(stage) for stage in sorted(stages)) or "(none)"


def _slug(value: Any) -> str:
    if isinstance(value, dict):
        return "+".join(f"{stage}x{ratio:g}" for stage, ratio in sorted(value.items()))
    if isinstance(value, list):
        return _joined(value)
    if isinstance(value, float):
        return f"{value:g}"
    return re.sub(r"[^A-Za-z0-9.-]+", "-", Path(str(value)).name)
