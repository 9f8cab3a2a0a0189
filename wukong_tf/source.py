"""The commit of this package, if it is known."""

import json
import os
import subprocess
from importlib import metadata

from wukong_tf.extras import ROOT


def commit(root: str = ROOT) -> str | None:
    """Returns the commit that this package was installed or is run from.

    That is the one which pip recorded, or that of the Git checkout that holds
    the package, followed by "-dirty" if it has changes.

    Args:
        root: directory of the package. Defaults to its own.
    """
    if os.path.exists(os.path.join(root, ".git")):
        return _described(root)
    try:
        text = metadata.distribution("wukong_tf").read_text("direct_url.json")
        recorded = json.loads(text or "{}")["vcs_info"]["commit_id"]
    except (metadata.PackageNotFoundError, KeyError, TypeError, ValueError):
        return None
    return str(recorded)


def _described(root):
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("GIT_")
    }
    package = ["git", "-C", root, "ls-files", "--error-unmatch", "wukong_tf"]
    words = ["--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        for command in (package, ["git", "-C", root, "describe", *words]):
            answer = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
