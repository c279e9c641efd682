"""What the notebooks call: worlds in, tables of results out; every fit goes through `runs`."""
