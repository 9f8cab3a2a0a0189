"""Settings of the synthetic log of interactions."""

import dataclasses

from trainer.settings.fields import Settings, setting
from wukong_tf.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Interactions(Settings):
    """Sizes of --synthetic_log=interactions."""

    synthetic_fields: int = setting(24, "Columns of ids.", minimum=2)
    synthetic_ids: int = setting(100, "Ids of each column.", minimum=2)
    synthetic_latent_dim: int = setting(
        8, "Length of the latent vector of an id.", minimum=1
    )
    synthetic_terms: int = setting(
        100, "Terms of the logit, each an inner product.", minimum=1
    )
    synthetic_term_dim: int = setting(
        4, "Entries of the latent vectors in each term.", minimum=1
    )
    synthetic_max_order: int = setting(
        8,
        "Columns of the terms of the highest order. Orders from 2 up to it "
        "take turns.",
        minimum=2,
    )
    synthetic_decay: float = setting(
        1.0,
        "Exponent s of the terms' strengths, i^-s for the i-th term.",
        minimum=0.0,
    )

    def __post_init__(self):
        super().__post_init__()
        for name, most in (
            ("synthetic_max_order", "synthetic_fields"),
            ("synthetic_term_dim", "synthetic_latent_dim"),
            ("synthetic_latent_dim", "synthetic_ids"),
        ):
            value, bound = getattr(self, name), getattr(self, most)
            below = name == "synthetic_latent_dim"
            if value > bound - below:
                raise ConfigError(
                    f"--{name} must be {'below' if below else 'at most'} "
                    f"--{most}={bound}; received {value}."
                )
