"""Measuring and choosing settings of the cache: calibration, timing, planning."""
