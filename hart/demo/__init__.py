"""A page that paints a prompt with and without the stage cache: `python -m hart.demo`, extra `demo`."""
