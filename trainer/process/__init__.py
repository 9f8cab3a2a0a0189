"""The process of a program: its start, console, signals and exit codes."""
