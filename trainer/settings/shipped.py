"""Where the files are that are installed with the programs."""

import os

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIGS = os.path.join(FOLDER, "configs")  # flagfiles
SPACES = os.path.join(CONFIGS, "spaces")  # of trainer.tune
COMPLETION = os.path.join(FOLDER, "completion.bash")
