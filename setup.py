"""Packaging of wukong_tf."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version that `wukong_tf/__init__.py` names, read as text."""
    text = (HERE / "wukong_tf" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.M)
    if found is None:
        raise RuntimeError("wukong_tf/__init__.py names no __version__.")
    return found.group(1)


REPORT = ["matplotlib>=3.11.2", "tensorboard>=2.21.0"]
BASELINES = ["keras-rs>=0.4.0"]
SAFETENSORS = ["safetensors>=0.8.0"]
TORCH = ["torch>=2.13.0"]
TUNE = ["optuna>=5.0.0"]
# The full mlflow has its server and page; SQLite is the store by default.
MLFLOW = ["mlflow-skinny>=3.17.2", "alembic>=1.20.1", "sqlalchemy>=2.1.9"]
SERVING = ["aiohttp>=3.14.5", "prometheus-client>=0.26.0"]
DEV = [
    "hypothesis>=6.170.0",
    "jax>=0.10.2",
    "mypy>=2.4.1,<2.5",
    "pandas>=3.1.0",
    "polars>=2.1.0",
    "pytest>=9.2.0",
    "pytest-xdist>=3.8.0",
    "pyyaml>=6.0.3",
    "ruff>=0.17.6,<0.18",
    "scikit-learn>=1.9.0",
]

setup(
    name="wukong_tf",
    version=version(),
    description="Wukong (arXiv 2403.02545) for Keras 3 and TensorFlow",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=["wukong_tf*", "trainer*", "export*"],
    ),
    package_data={
        "export.server": ["page.html"],
        "trainer": [
            "completion.bash",
            "configs/*.flags",
            "configs/spaces/*.toml",
            "configs/spaces/*/*.toml",
        ],
        "wukong_tf": ["py.typed", "*.pyi"],
    },
    # Lower bounds are the versions that the tests run with.
    install_requires=[
        "absl-py>=2.5.1",
        "h5py>=3.14.0",
        "keras>=3.15.1",
        "numpy>=2.4.6",
        "onnx>=1.23.2",
        "onnxruntime>=1.32.0",
        # 25 is the newest that Apache Beam allows. All tests run with 26; 25
        # refuses to read nulls among Parquet lists of a fixed size.
        "pyarrow>=25.0.1",
        "tensorflow>=2.21.0",
        # Requests as messages: warm-up files and the gRPC client.
        "tensorflow-serving-api>=2.21.0",
        # On macOS it asks for tensorflow-macos, which has no such release;
        # --lookup=take trains there.
        'tensorflow-recommenders>=0.7.7; sys_platform != "darwin"',
        'tf-keras>=2.21.0; sys_platform != "darwin"',
        "tf2onnx>=1.17.0",
        "tqdm>=4.70.0",
    ],
    extras_require={
        "gpu": ['tensorflow[and-cuda]>=2.21.0; sys_platform == "linux"'],
        "serving": SERVING,
        "report": REPORT,
        "beam": ["apache-beam>=2.77.0"],
        # DLRM and DCN-V2; the other baselines need nothing more.
        "baselines": BASELINES,
        "dev": [*DEV, *REPORT, *BASELINES, *SERVING, *SAFETENSORS, *TUNE],
        # trainer.tune.
        "tune": TUNE,
        # The theme is maintained until May 2027, then its successor, Zensical.
        "docs": ["mkdocs-material>=9.8.2", "mkdocstrings[python]>=1.0.8"],
        "notebook": ["ipykernel>=7.1.0", "nbclient>=0.10.2"],
        # --track=mlflow and --track=wandb.
        "mlflow": MLFLOW,
        "wandb": ["wandb>=0.31.0"],
        "torch": TORCH,
        # State dicts of other implementations.
        "interop": [*TORCH, *SAFETENSORS],
        # Another version may put in other bugs: samples would not compare.
        "mutants": ["cosmic-ray==8.7.0"],
    },
    entry_points={
        "console_scripts": [
            "wukong-train=trainer.main:main",
            "wukong-compare=trainer.compare:main",
            "wukong-export=export.main:main",
            "wukong-rollout=export.rollout:main",
            "wukong-score=export.score:main",
            "wukong-serve=export.serve:main",
            "wukong-launch=trainer.launch:main",
            "wukong-prepare=trainer.prepare:main",
            "wukong-reproduce=trainer.reproduce:main",
            "wukong-example-log=trainer.example_log:main",
            "wukong-tune=trainer.tune:main",
            "wukong-scaling=trainer.scaling:main",
            "wukong-info=trainer.info:main",
        ]
    },
)
