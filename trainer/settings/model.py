"""Settings of the model and its sizes."""

import contextlib
import dataclasses
import re
from typing import Any, Literal

from trainer.settings.fields import Settings, setting
from wukong_tf.config import (
    MODEL_CONFIGS,
    FeatureSpec,
    ModelConfig,
    WukongConfig,
    sizes_for,
)
from wukong_tf.errors import ConfigError
from wukong_tf.scaling import preset


def _default(name):
    """Returns a size's default as text, with models that have another."""
    models: dict[str, list[str]] = {}
    for model, config in MODEL_CONFIGS.items():
        for field in dataclasses.fields(config):
            if field.name == name:
                default = field.default
                if default is None and name in sizes_for(1):
                    default = "by the number of embeddings"
                elif default is None and name == "rank":
                    default = "8, or the embeddings that enter a layer"
                elif default is None or isinstance(default, bool):
                    default = str(default).lower()
                elif isinstance(default, tuple):
                    default = ",".join(map(str, default)) or "none"
                models.setdefault(str(default), []).append(model)
    if len(models) == 1:
        return next(iter(models))
    return "; ".join(
        f"{default} ({', '.join(names)})" for default, names in models.items()
    )


def _size(name, help):
    return setting(None, f"{help}. Default: {_default(name)}.")


DEFAULT = "wukong"
_Bool = bool | None
_Integer = int | None
_Number = float | None
_Text = str | None
_List = tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class Model(Settings):
    """Model and sizes."""

    model: Literal[tuple(MODEL_CONFIGS)] = setting(  # type: ignore[valid-type]
        DEFAULT,
        "Model to train. Each of the sizes below applies to the models whose "
        "configuration has a field of its name.",
    )
    preset: str | None = setting(
        None,
        "Name of a set of Wukong's sizes, such as internal_5.6gf or "
        "criteo_l3_n16_mlp2x1024; docs/scaling.md lists them. Flags of "
        "sizes take precedence.",
    )
    embedding_dim: _Integer = _size("embedding_dim", "d, width of embeddings")
    num_layers: _Integer = _size(
        "num_layers", "l, number of interaction layers"
    )
    num_fmb: _List = _size(
        "num_fmb",
        "n_F, output embeddings of each factorization machine block: one "
        "number, or one for each layer",
    )
    num_lcb: _List = _size(
        "num_lcb",
        "n_L, output embeddings of each linear compress block: one number, "
        "or one for each layer",
    )
    rank: _List = _size(
        "rank",
        "k, columns of the FM's projection Y: one number, or one for each "
        "layer",
    )
    mlp_units: _List = _size(
        "mlp_units",
        "Hidden units of the FM blocks' MLP; with slashes between layers for "
        "one list a layer, such as 512,512/256",
    )
    fm: _Text = _size(
        "fm",
        "full (X X^T), projected (X X^T Y) or attentive (Y computed from X)",
    )
    attention_embeddings: _Integer = _size(
        "attention_embeddings",
        "Rows that X is compressed to before --fm=attentive computes Y",
    )
    attention_units: _List = _size(
        "attention_units", "Hidden units of the MLP that computes that Y"
    )
    remove: _List = _size(
        "remove",
        "Parts to remove from every interaction layer, for ablations: fmb, "
        "lcb, residual, or linear_path for both of the last",
    )
    fmb_activation: _Text = _size(
        "fmb_activation",
        "Activation of the FM blocks' output: linear (none) or relu",
    )
    residual_bias: _Bool = _size(
        "residual_bias",
        "Whether residuals that change the number of embeddings have a bias",
    )
    mlp_activation: _Text = _size(
        "mlp_activation",
        "Activation in the FM blocks' MLPs: relu, sigmoid, silu or tanh",
    )
    mlp_bias: _Bool = _size(
        "mlp_bias", "Whether the FM blocks' MLPs have biases"
    )
    mlp_glu: _Bool = _size(
        "mlp_glu",
        "Whether the hidden layers of the FM blocks' MLPs are gated linear "
        "units (arXiv 2002.05202)",
    )
    norm_epsilon: _Number = _size(
        "norm_epsilon",
        "Added to the variance in LayerNorms; from 1 on, they keep the size of "
        "small embeddings",
    )
    bottom_mlp_units: _List = _size(
        "bottom_mlp_units",
        "Hidden units of the MLPs that embed numeric and vector features",
    )
    numeric_embeddings: _Integer = _size(
        "numeric_embeddings",
        "Rows of X_0 computed from all numeric features together",
    )
    head_units: _List = _size("head_units", "Hidden units of the last MLP")
    num_cross_layers: _Integer = _size(
        "num_cross_layers", "Layers of DCN-V2's cross network"
    )
    projection_dim: _Integer = _size(
        "projection_dim", "Rank of DCN-V2's cross layers"
    )
    structure: _Text = _size("structure", "stacked or parallel, of DCN-V2")
    num_tokens: _Integer = _size(
        "num_tokens", "T, tokens of RankMixer; --token_dim is a multiple"
    )
    token_dim: _Integer = _size("token_dim", "Width of RankMixer's tokens")
    expansion: _Integer = _size(
        "expansion", "Hidden units of a token's MLP, in widths of a token"
    )
    dropout: _Number = _size(
        "dropout", "Rate after the hidden layers of blocks and heads"
    )
    embedding_dropout: _Number = _size(
        "embedding_dropout", "Rate on the embeddings"
    )
    table_initial_scale: _Number = _size(
        "table_initial_scale", "Tables start uniform in [-scale, scale]"
    )

    def __post_init__(self):
        super().__post_init__()
        self.sizes()

    def sizes(self) -> dict[str, Any]:
        """Returns the sizes given by flags and preset, as the model's fields.

        Raises:
            ConfigError: the model has no such size, or it cannot be parsed.
        """
        sizes: dict[str, Any] = {}
        if self.preset is not None:
            if self.model != "wukong":
                raise ConfigError(
                    f"--preset={self.preset} contradicts --model="
                    f"{self.model}; presets are sizes of Wukong."
                )
            sizes |= preset(self.preset).sizes
        own = {f.name for f in dataclasses.fields(MODEL_CONFIGS[self.model])}
        for name in SIZES:
            value = getattr(self, name)
            if value is None:
                continue
            if name not in own:
                raise ConfigError(
                    f"--{name} contradicts --model={self.model}, which has no "
                    "such size."
                )
            sizes[name] = _parsed(name, value)
        return sizes

    def config(self, features: FeatureSpec) -> ModelConfig:
        """Returns the model's configuration over `features`.

        Raises:
            ConfigError: a size is invalid; the message names its flag.
        """
        sizes = self.sizes()
        try:
            config = MODEL_CONFIGS[self.model](features, **sizes)
            if isinstance(config, WukongConfig):
                config.check_ranks()
        except ConfigError as error:
            raise ConfigError(self._with_flags(str(error))) from error
        return config

    def check_same(self, config: ModelConfig, run_dir: str) -> None:
        """Raises ConfigError if a flag contradicts the model of a run.

        Args:
            config: the configuration of the run's model.
            run_dir: its directory, for the error.
        """
        if self.model not in (DEFAULT, config.model):
            raise ConfigError(
                f"--model={self.model} contradicts --run_dir={run_dir}, whose "
                f"model is {config.model}."
            )
        for name, value in self.sizes().items():
            had = "no such size"
            if hasattr(config, name):
                had = flag_text(getattr(config, name))
                with contextlib.suppress(ConfigError):
                    other = dataclasses.replace(config, **{name: value})
                    if name not in config.differences(other):
                        continue
            raise ConfigError(
                f"--{name}={flag_text(value)} contradicts --run_dir={run_dir}, "
                f"whose model has {had}."
            )

    def _with_flags(self, text):
        """Returns an error's text with flags for the fields it names."""
        named = re.sub(
            r"`(\w+)`", lambda m: f"--{m[1]}" if m[1] in SIZES else m[0], text
        )
        if self.preset is not None:
            named += (
                f" Sizes without a flag are those of --preset={self.preset}."
            )
        return named

    def describe(self, config: ModelConfig) -> list[str]:
        """Returns lines on the sizes of a model, given and default ones."""
        given: list[str] = []
        chosen: list[str] = []
        for name in SIZES:
            if name in self.sizes():
                lines = given
            elif hasattr(config, name) and name not in config.unused:
                lines = chosen
            else:
                continue
            lines.append(f"{name}={flag_text(getattr(config, name))}")
        described = []
        if given:
            source = f" (--preset={self.preset})" if self.preset else ""
            described.append(f"sizes given{source}: {' '.join(given)}")
        if chosen:
            count = getattr(config, "num_embeddings", None)
            what = "" if count is None else f" for {count} embeddings"
            described.append(f"sizes chosen{what}: {' '.join(chosen)}")
        return described


SIZES = tuple(
    field.name
    for field in dataclasses.fields(Model)
    if field.name not in ("model", "preset")
)


def flag_text(value: Any) -> str:
    """Returns a size as the text of its flag."""
    if not isinstance(value, tuple):
        return str(value)
    nested = any(isinstance(item, tuple) for item in value)
    return ("/" if nested else ",").join(map(flag_text, value))


def _parsed(name, value):
    """Returns a flag's text as the value of the configuration's field."""
    if name in ("num_fmb", "num_lcb", "rank"):
        numbers = _integers(name, value)
        return numbers[0] if len(numbers) == 1 else numbers
    if name == "mlp_units":
        layers = ",".join(value).split("/")
        units = tuple(_integers(name, layer.split(",")) for layer in layers)
        return units[0] if len(units) == 1 else units
    if name == "remove":
        return value
    return _integers(name, value) if isinstance(value, tuple) else value


def _integers(name, texts):
    try:
        return tuple(int(text) for text in texts if text != "")
    except ValueError as error:
        raise ConfigError(
            f"--{name} must hold integers; received {','.join(texts)!r}."
        ) from error
