"""One file for each command. Heavy imports belong inside the functions: `--help` should be quick."""
