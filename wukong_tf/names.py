"""Converts users' names to identifiers of layers, files and arguments.

Requests, metrics and data files keep the user's names. Layers and files on disk
get an identifier that depends only on the name, so that it stays the same when
columns or tasks are added, dropped or moved.
"""

import collections
import hashlib
import keyword
import re
import unicodedata
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_FILE = re.compile(r"[a-z0-9_-][a-z0-9_.-]{0,99}")
_ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_HASHED_ARGUMENT = re.compile(r"(?i:input_[0-9a-f]{16})")
_OTHER = re.compile(r"[^A-Za-z0-9_.-]")
_DIGEST = re.compile(r">[0-9a-f]{16}")
OUTPUTS = ("probability", "logit")
_OF_FUNCTIONS = ("self", "raw_columns")
_STEM = 32  # characters of a name that its file name keeps


def identifier(name: str) -> str:
    """Returns the part of a layer's name that stands for `name`.

    A name of ASCII letters, digits, "_", "." and "-" is its own identifier. In
    any other name all other characters become "_", followed by ">" and 16
    hexadecimal digits of its SHA-256; names of the first kind have no ">".

    Example:
        >>> identifier("user_id"), identifier("user id")
        ('user_id', 'user_id>9b55b418959c4926')
    """
    if _PLAIN.fullmatch(name):
        return name
    return f"{_OTHER.sub('_', name)}>{_digest(name)}"


def without_digests(text: str) -> str:
    """Returns `text` with its identifiers reduced to their stems.

    Earlier versions named layers this way, although several names can share a
    stem.
    """
    return _DIGEST.sub("", text)


def file_name(name: str) -> str:
    """Returns the stem of a file's name that stands for `name`.

    The stem has at most 100 ASCII characters and no upper case, as some file
    systems ignore case. A name that meets this and does not begin with a dot is
    its own stem.
    """
    if _FILE.fullmatch(name):
        return name
    stem = _OTHER.sub("_", name[:_STEM]).lower().lstrip(".")
    return f"{stem}~{_digest(name)}"


def arguments(names: Iterable[str]) -> dict[str, str]:
    """Returns a function argument for each of several different names.

    Each is a valid identifier in Python and TensorFlow, and they differ by more
    than case, which TensorFlow ignores. A valid name is kept.
    """
    names = list(names)
    lowered = collections.Counter(name.lower() for name in names)
    return {
        name: name
        if _is_argument(name) and lowered[name.lower()] == 1
        else f"input_{_digest(name)}"
        for name in names
    }


def _is_argument(name):
    return (
        _ARGUMENT.fullmatch(name)
        and not _HASHED_ARGUMENT.fullmatch(name)
        and not keyword.iskeyword(name)
        and name not in _OF_FUNCTIONS
    )


def output_names(
    tasks: Iterable[str], inputs: Iterable[str] = ()
) -> dict[str, tuple[str, str]]:
    """Returns the names of each task's probability and logit outputs.

    The names are "probability" and "logit", prefixed with "TASK_" if there are
    several tasks.

    Args:
        tasks: names of the tasks.
        inputs: names of the features. "_" is appended to an output name that
            equals one of them, as names in a graph are unique.
    """
    names, used = list(tasks), set(inputs)

    def free(name):
        while name in used:
            name += "_"
        return name

    several = len(names) > 1
    outputs = {}
    for task in names:
        prefix = f"{task}_" if several else ""
        probability, logit = (free(prefix + kind) for kind in OUTPUTS)
        outputs[task] = probability, logit
    return outputs


def listed(names: Iterable[str]) -> dict[str, str]:
    """Returns the identifier of each name that differs from its identifier."""
    return {name: i for name in names if (i := identifier(name)) != name}


def alike(name: str, names: Iterable[str]) -> str:
    """Returns a hint for an error about a missing name, or "".

    The hint names one of `names` that looks the same: it differs only in case,
    surrounding spaces or Unicode normalization.
    """
    seen = _seen(name)
    for other in names:
        if isinstance(other, str) and other != name and _seen(other) == seen:
            return (
                f" ({ascii(other)} differs from {ascii(name)} in case, spaces "
                "or Unicode normalization)"
            )
    return ""


def _seen(name):
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _digest(name):
    return hashlib.sha256(name.encode()).hexdigest()[:16]
