"""How many examples each property is held to, and from which seed.

PROPERTY_EXAMPLES and PROPERTY_SEED change both; `make test` takes 25 examples
and `make test-full` 500, from the same seed. Properties whose examples each
train or export a model take a third of them.
"""

import os

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "25"))
TRAINED = max(1, EXAMPLES // 3)
SEED = int(os.environ.get("PROPERTY_SEED", "2403"))


def header() -> str:
    """Returns the line that pytest prints before the tests."""
    return f"properties: PROPERTY_EXAMPLES={EXAMPLES} PROPERTY_SEED={SEED}"


def rerun(test: str) -> str:
    """Returns the command that runs a test with the same examples."""
    return (
        f"PROPERTY_EXAMPLES={EXAMPLES} PROPERTY_SEED={SEED} "
        f".venv/bin/python -m pytest '{test}'"
    )
