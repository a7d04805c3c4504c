"""An older path of threshold schedules: `hart.modules.cache.thresholds` defines them."""

from hart.modules.cache.thresholds import register_schedule

__all__ = ["register_schedule"]
