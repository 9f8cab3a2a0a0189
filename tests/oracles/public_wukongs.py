"""Public Wukongs in NumPy, by the equations of each one's code.

Each takes the tensors of its state dict by key and a batch, and returns logits
[B]. Dropout is off, and batch normalizations use their running statistics.
Values may be complex, so that `gradients` can differentiate by the complex
step: the imaginary part of f(x + ih) is h f'(x), without cancellation, for h as
small as 1e-30 (Squire and Trapp, SIAM Review 40, 1998).
"""

import re
from collections.abc import Callable

import numpy as np

Tensors = dict[str, np.ndarray]
Logits = Callable[[Tensors, dict[str, np.ndarray]], np.ndarray]

EPSILON = 1e-5  # PyTorch's default, in LayerNorm and BatchNorm1d
_STEP = 1e-30


def torcheasyrec(w: Tensors, batch: dict[str, np.ndarray]) -> np.ndarray:
    """TorchEasyRec's WuKong over a sparse group of single ids."""
    bags = "embedding_group.emb_impls.__BASE__.ebc.embedding_bags"
    x = np.stack(
        [w[f"{bags}.{name}_emb.weight"][ids] for name, ids in batch.items()],
        axis=1,
    )
    for at in _layers(w, "_wukong_layers"):
        batch_size, n, d = x.shape
        # inputs (inputs^T W)
        fm = x @ (_swap(x) @ w[f"{at}.fmb.weight"])
        h = _layer_norm(w, f"{at}.fmb.norm", fm.reshape(batch_size, -1))
        h = _perceptrons(w, f"{at}.fmb.mlp", h)
        h = _linear(w, f"{at}.fmb.feature_out_liner", h)
        fmb = h.reshape(batch_size, -1, d)
        lcb = _swap(_swap(x) @ w[f"{at}.lcb.weight"])
        y = np.concatenate([fmb, lcb], axis=1)
        skip = x
        if y.shape[1] != n:
            skip = _swap(_swap(x) @ w[f"{at}.residual_projection.weight"])
        x = _layer_norm(w, f"{at}.norm", y + skip)
    h = _perceptrons(w, "final_mlp", x.reshape(len(x), -1))
    return _linear(w, "output_mlp", h)[:, 0]


def fuxictr(w: Tensors, batch: dict[str, np.ndarray]) -> np.ndarray:
    """FuxiCTR's WuKong over categorical features, before the sigmoid."""
    tables = "embedding_layer.embedding_layer.embedding_layers"
    x = np.stack(
        [w[f"{tables}.{name}.weight"][ids] for name, ids in batch.items()],
        axis=1,
    )
    for at in _layers(w, "wukong_stack"):
        batch_size, n, d = x.shape
        y = _swap(x)
        if f"{at}.fmb.proj_Y" in w:
            y = y @ w[f"{at}.fmb.proj_Y"]
        fm = (x @ y).reshape(batch_size, -1)
        h = _layer_norm(w, f"{at}.fmb.layer_norm", fm)
        h = _relu(_sequential(w, f"{at}.fmb.mlp.mlp", h))
        fmb = h.reshape(batch_size, -1, d)
        lcb = _swap(_linear(w, f"{at}.lcb.linear", _swap(x)))
        out = np.concatenate([fmb, lcb], axis=1)
        skip = x
        if out.shape[1] != n:
            skip = _swap(_linear(w, f"{at}.residual_proj", _swap(x)))
        x = _layer_norm(w, f"{at}.layer_norm", out + skip)
    return _sequential(w, "fc.mlp", x.reshape(len(x), -1))[:, 0]


def mlcc(w: Tensors, batch: dict[str, np.ndarray]) -> np.ndarray:
    """The Wukong of the authors of MLCC (arXiv 2602.12041)."""
    x = np.stack(
        [
            w[f"embeddings.{index}.weight"][ids]
            for index, ids in enumerate(batch.values())
        ],
        axis=1,
    )
    for at in _layers(w, "wukong_interaction.interaction_layers"):
        batch_size, n, d = x.shape
        fm = x @ (_swap(x) @ w[f"{at}.fmb.rank_weight"])
        h = _layer_norm(w, f"{at}.fmb.norm", fm.reshape(batch_size, -1))
        fmb = _relu(_linear(w, f"{at}.fmb.mlp.0", h)).reshape(batch_size, -1, d)
        lcb = _swap(_swap(x) @ w[f"{at}.lcb.weight"])
        y = np.concatenate([fmb, lcb], axis=1)
        skip = x
        if y.shape[1] != n:
            skip = _swap(_swap(x) @ w[f"{at}.residual_projection.weight"])
        x = _layer_norm(w, f"{at}.norm", y + skip)
    return _sequential(w, "mlp", x.reshape(len(x), -1))[:, 0]


def clabrugere(w: Tensors, batch: dict[str, np.ndarray]) -> np.ndarray:
    """Clabrugere's Wukong in PyTorch; ids share a table, numbers a layer."""
    table = w["embedding.sparse_embedding.weight"]
    ids = [column for column in batch.values() if column.dtype.kind == "i"]
    numbers = [column for column in batch.values() if column.dtype.kind == "f"]
    sparse = np.stack([table[column] for column in ids], axis=1)
    dense = _linear(w, "embedding.dense_embedding", np.stack(numbers, axis=1))
    dense = dense.reshape(len(dense), len(numbers), table.shape[1])
    x = np.concatenate([sparse, dense], axis=1)
    for at in _layers(w, "interaction_layers"):
        batch_size, n, d = x.shape
        fm = x @ (_swap(x) @ w[f"{at}.fmb.weight"])
        h = _layer_norm(w, f"{at}.fmb.norm", fm.reshape(batch_size, -1))
        fmb = _sequential(w, f"{at}.fmb.mlp", h).reshape(batch_size, -1, d)
        lcb = _swap(_swap(x) @ w[f"{at}.lcb.weight"])
        y = np.concatenate([fmb, lcb], axis=1)
        skip = x
        if y.shape[1] != n:
            skip = _swap(_swap(x) @ w[f"{at}.residual_projection.weight"])
        x = _layer_norm(w, f"{at}.norm", y + skip)
    return _sequential(w, "projection_head", x.reshape(len(x), -1))[:, 0]


OF: dict[str, Logits] = {
    "torcheasyrec": torcheasyrec,
    "fuxictr": fuxictr,
    "mlcc": mlcc,
    "clabrugere": clabrugere,
}


def loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the mean binary cross-entropy of logits, a scalar."""
    return np.mean(np.log1p(np.exp(logits)) - labels * logits)


def gradients(
    of: Logits,
    w: Tensors,
    batch: dict[str, np.ndarray],
    labels: np.ndarray,
) -> Tensors:
    """Returns the loss's gradients for all tensors by the complex step."""
    moved = {key: tensor.astype(np.complex128) for key, tensor in w.items()}
    result = {}
    for key, tensor in moved.items():
        result[key] = np.empty(tensor.shape)
        for index in np.ndindex(tensor.shape):
            tensor[index] += 1j * _STEP
            change = loss(of(moved, batch), labels).imag
            result[key][index] = change / _STEP
            tensor[index] = tensor[index].real
    return result


def _layers(w, prefix):
    """Returns the keys of the interaction layers, in order."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    count = 1 + max(int(m[1]) for m in map(pattern.match, w) if m)
    return [f"{prefix}.{index}" for index in range(count)]


def _swap(x):
    return np.swapaxes(x, 1, 2)


def _relu(x):
    return np.where(x.real > 0, x, 0)


def _linear(w, key, x):
    """X A^T + b, with the weight A [outputs, inputs]."""
    return x @ w[f"{key}.weight"].T + w.get(f"{key}.bias", 0)


def _layer_norm(w, key, x):
    centered = x - x.mean(-1, keepdims=True)
    variance = (centered**2).mean(-1, keepdims=True)
    unit = centered / np.sqrt(variance + EPSILON)
    return unit * w[f"{key}.weight"] + w[f"{key}.bias"]


def _batch_norm(w, key, x):
    variance = w[f"{key}.running_var"] + EPSILON
    unit = (x - w[f"{key}.running_mean"]) / np.sqrt(variance)
    return unit * w[f"{key}.weight"] + w[f"{key}.bias"]


def _sequential(w, key, x):
    """Linear layers, a ReLU between them, after batch normalizations."""
    pattern = re.compile(re.escape(key) + r"\.(\d+)\.weight")
    indices = sorted(int(m[1]) for m in map(pattern.fullmatch, w) if m)
    for place, index in enumerate(indices):
        at = f"{key}.{index}"
        if f"{at}.running_mean" in w:
            x = _batch_norm(w, at, x)
            continue
        if place:
            x = _relu(x)
        x = _linear(w, at, x)
    return x


def _perceptrons(w, key, x):
    """Linear layers with a ReLU after each."""
    index = 0
    while f"{key}.mlp.{index}.perceptron.0.weight" in w:
        at = f"{key}.mlp.{index}.perceptron"
        x = _linear(w, f"{at}.0", x)
        if f"{at}.1.running_mean" in w:
            x = _batch_norm(w, f"{at}.1", x)
        x = _relu(x)
        index += 1
    return x
