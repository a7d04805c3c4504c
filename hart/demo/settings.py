"""Settings of the demo, and the settings of the cache that its page offers."""

from pathlib import Path

from pydantic import Field

from hart.modules.cache_config import HARTCacheConfig
from hart.settings import Settings

BASELINE = "no-cache"
FIRST_CHOICE = "original-cache"


class DemoSettings(Settings):
    """What `python -m hart.demo` takes beside what every program takes."""

    program = "demo"

    cache: str | None = Field(
        None, description=f"setting that the page begins with: a preset's name ({FIRST_CHOICE}) or a JSON file"
    )
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0 takes a free one")

    def choices(self, patch_nums: tuple[int, ...]) -> dict[str, HARTCacheConfig]:
        """Return the cache settings to choose from by name, the one to begin with first.

        Args:
            patch_nums: sides of the model's stages.

        Raises:
            FileNotFoundError, ValueError: the named setting is not there or does not fit.
        """
        presets = HARTCacheConfig.fitting_presets(patch_nums)
        first = self.cache_config() or FIRST_CHOICE
        if isinstance(first, HARTCacheConfig):
            return {Path(self.cache or "").stem: first} | presets
        return {first: HARTCacheConfig.from_preset(first, patch_nums=patch_nums)} | presets
