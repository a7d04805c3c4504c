"""Which settings a run measures: by name, from files, as sweeps, as peers."""
