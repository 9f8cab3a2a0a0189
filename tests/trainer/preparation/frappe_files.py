"""Made-up files in the published forms of the Frappe data set."""

from pathlib import Path

HEADER = (
    "label",
    "user",
    "item",
    "daytime",
    "weekday",
    "isweekend",
    "homework",
    "cost",
    "weather",
    "country",
    "city",
)

# Label and ten raw values; the first value of "user" is 7 twice, 5 once.
TRAIN = [
    (1, "7", "20", "31", "40", "50", "60", "70", "80", "90", "100"),
    (0, "5", "21", "31", "41", "50", "60", "70", "81", "91", "101"),
    (1, "7", "22", "32", "41", "51", "61", "71", "81", "91", "102"),
]
VALID = [
    (0, "5", "20", "31", "40", "50", "60", "70", "80", "90", "999"),
    (1, "8", "22", "33", "41", "51", "61", "71", "81", "91", "102"),
]
TEST = [(1, "7", "21", "31", "40", "50", "60", "70", "80", "90", "100")]
SPLITS = {"train": TRAIN, "valid": VALID, "test": TEST}


def write_csv(folder: Path, end: str = "\n", names=HEADER, splits=None) -> Path:
    """train.csv, valid.csv and test.csv in `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    order = [HEADER.index(name) for name in names]
    for split, rows in (splits or SPLITS).items():
        lines = [",".join(names)]
        lines += [",".join(str(row[i]) for i in order) for row in rows]
        text = "".join(line + end for line in lines)
        (folder / f"{split}.csv").write_bytes(text.encode())
    return folder


def write_libfm(folder: Path, no_click: int = -1) -> Path:
    """The same rows as libFM files; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in SPLITS.items():
        word = "validation" if split == "valid" else split
        lines = [
            " ".join([str(row[0] or no_click), *(f"{v}:1" for v in row[1:])])
            for row in rows
        ]
        (folder / f"frappe.{word}.libfm").write_text("\n".join(lines) + "\n")
    return folder
