"""Speed, quality and memory of cache settings, measured in one run: `python -m hart.benchmark`."""
