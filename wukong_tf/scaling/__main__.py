"""The table of docs/scaling.md: `python -m wukong_tf.scaling`."""

from wukong_tf.scaling.cost import cost
from wukong_tf.scaling.presets import (
    INTERNAL_EXAMPLES,
    INTERNAL_TABLES,
    internal_features,
    presets,
)


def table() -> str:
    """Returns the internal presets next to the paper's figures, as Markdown."""
    features = internal_features()
    lines = [
        "| preset | l | n_F = n_L | k | MLP | GFLOP, ours | GFLOP, printed | "
        "dense parameters, ours | total, ours | total, printed | PF-days |",
        "|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, preset in presets().items():
        if not name.startswith("internal_"):
            continue
        config = preset.config(features)
        model_cost = cost(config)
        # One row of width d per feature, instead of the true tables.
        dense = model_cost.dense_parameters
        total = (INTERNAL_TABLES + dense) / 1e9
        units = preset.sizes["mlp_units"]
        lines.append(
            f"| {name} | {config.num_layers} | {config.num_fmb} | "
            f"{preset.printed['rank']} | {len(units)} x {units[0]} | "
            f"{model_cost.training_flop / 1e9:.2f} | "
            f"{preset.printed['gflop']:g} | "
            f"{dense / 1e9:.2f} B | {total:.2f} B | "
            f"{preset.printed['parameters'] / 1e9:.2f} B | "
            f"{model_cost.pf_days(INTERNAL_EXAMPLES):.3g} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
