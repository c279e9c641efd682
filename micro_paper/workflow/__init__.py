"""From parameters to published files: notebooks, their runs, and where each file came from."""
