"""Compares ours with public Wukongs: `python -m benchmarks.interop`.

Each flag gives a clone of an implementation, whose own code is run with PyTorch
at small sizes in float64: its state dict becomes ours by `wukong_tf.interop`,
and logits, gradients and the weights after 100 steps of SGD are compared. The
value is the largest difference in units of its tolerance, 1e-10, or 1e-6 after
training: the bar holds where it is at most 1. An implementation without a flag
is skipped.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import types

from absl import flags

from benchmarks import run_program

FLAGS = {
    kind: flags.DEFINE_string(kind, "", f"Clone of {repository}.")
    for kind, repository in (
        ("torcheasyrec", "github.com/alibaba/TorchEasyRec"),
        ("fuxictr", "github.com/reczoo/FuxiCTR"),
        ("mlcc", "github.com/shishishu/MLCC"),
        ("clabrugere", "github.com/clabrugere/wukong-recommendation"),
    )
}
STEPS = flags.DEFINE_integer("steps", 100, "Steps of training.")

TOLERANCES = {"logits": 1e-10, "gradients": 1e-10, "training": 1e-6}
IDS, BATCH, WIDTH, FMB, LCB, RANK = 50, 32, 8, 4, 4, 4
NAMES = ("user", "item", "shop", "city", "hour", "device")
RATE = 0.125  # exact in float32, Keras's dtype of a learning rate


def torcheasyrec(path: str):
    """Returns TorchEasyRec's layers and MLPs under the keys of its model.

    The model itself needs its protocol buffers and TorchRec; its tables are
    torch's here.
    """
    from torch import nn

    # Only some modules of the package, as the whole imports TorchRec.
    package = types.ModuleType("tzrec")
    package.__path__ = [os.path.join(path, "tzrec")]
    sys.modules["tzrec"] = package
    layer = importlib.import_module("tzrec.modules.interaction").WuKongLayer
    mlp = importlib.import_module("tzrec.modules.mlp").MLP

    def nested(module, *keys):
        for key in reversed(keys):
            module = nn.ModuleDict({key: module})
        return module

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            tables = {f"{n}_emb": nn.Embedding(IDS, WIDTH) for n in NAMES}
            keys = ("emb_impls", "__BASE__", "ebc", "embedding_bags")
            self.tables = tables
            self.embedding_group = nested(nn.ModuleDict(tables), *keys)
            hidden = {"hidden_units": [16]}
            self._wukong_layers = nn.ModuleList(
                layer(WIDTH, rows, LCB, FMB, RANK, hidden)
                for rows in (len(NAMES), LCB + FMB)
            )
            self.final_mlp = mlp((LCB + FMB) * WIDTH, [16])
            self.output_mlp = nn.Linear(16, 1)

        def forward(self, batch):
            import torch

            columns = [self.tables[f"{n}_emb"](batch[n]) for n in NAMES]
            x = torch.stack(columns, 1)
            for each in self._wukong_layers:
                x = each(x)
            return self.output_mlp(self.final_mlp(x.flatten(1)))[:, 0]

    model = Model()
    return model, model


def fuxictr(path: str):
    """Returns FuxiCTR's WuKong, without a batch normalization in its head."""
    import torch

    sys.path.insert(0, path)
    features = importlib.import_module("fuxictr.features").FeatureMap("x", "")
    for name in NAMES:
        spec = {"source": "", "type": "categorical", "vocab_size": IDS}
        features.features[name] = spec
    features.num_fields = len(NAMES)
    file = os.path.join(path, "model_zoo", "WuKong", "src", "WuKong.py")
    found = importlib.util.spec_from_file_location("fuxictr_wukong", file)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    model = module.WuKong(
        features,
        embedding_dim=WIDTH,
        num_wukong_layers=2,
        lcb_features=LCB,
        fmb_features=FMB,
        fmb_mlp_units=[16],
        fmp_rank_k=RANK,
        mlp_hidden_units=[16],
        mlp_batch_norm=False,
        optimizer="adam",
        loss="binary_crossentropy",
        metrics=[],
        verbose=0,
        model_root="",
    )
    return model, lambda batch: torch.logit(
        model({name: batch[name] for name in NAMES})["y_pred"][:, 0]
    )


def mlcc(path: str):
    """Returns the Wukong of MLCC's authors."""
    import torch

    sys.path.insert(0, path)
    model = importlib.import_module("models.wukong").Wukong(
        num_features=len(NAMES),
        embedding_dim=WIDTH,
        num_layers=2,
        num_emb_lcb=LCB,
        num_emb_fmb=FMB,
        rank_fmb=RANK,
        mlp_hidden_dims=[16],
        dropout=0.0,
        hash_size=IDS,
    )
    return model, lambda batch: model(
        torch.stack([batch[name] for name in NAMES], 1)
    )[:, 0]


def clabrugere(path: str):
    """Returns clabrugere's Wukong without hidden layers.

    Its hidden layers have batch normalizations.
    """
    import torch

    sys.path.insert(0, path)
    model = importlib.import_module("model.pytorch.wukong").Wukong(
        num_layers=2,
        num_sparse_emb=IDS,
        dim_emb=WIDTH,
        dim_input_sparse=len(NAMES),
        dim_input_dense=2,
        num_emb_lcb=LCB,
        num_emb_fmb=FMB,
        rank_fmb=RANK,
        num_hidden_wukong=1,
        dim_hidden_wukong=16,
        num_hidden_head=1,
        dim_hidden_head=16,
        dim_output=1,
    )
    return model, lambda batch: model(
        torch.stack([batch[name] for name in NAMES], 1),
        torch.stack([batch["price"], batch["age"]], 1),
    )[:, 0]


MODELS = {
    "torcheasyrec": torcheasyrec,
    "fuxictr": fuxictr,
    "mlcc": mlcc,
    "clabrugere": clabrugere,
}


def spec(kind: str):
    """Returns our features of an implementation's model."""
    from wukong_tf.config import (
        CategoricalFeature,
        FeatureSpec,
        NumericFeature,
    )

    table = "ids" if kind == "clabrugere" else None
    ids = (CategoricalFeature(name, IDS, table=table) for name in NAMES)
    numbers = (NumericFeature("price"), NumericFeature("age"))
    return FeatureSpec(tuple(ids), numbers if kind == "clabrugere" else ())


def batch(seed: int):
    """Returns random ids and numbers, and labels."""
    import numpy as np

    random = np.random.default_rng(seed)
    ids = {name: random.integers(0, IDS, BATCH) for name in NAMES}
    numbers = {name: random.normal(size=BATCH) for name in ("price", "age")}
    return {**ids, **numbers}, random.integers(0, 2, BATCH).astype(float)


def theirs(model, forward, columns, labels):
    """Returns logits and the gradients of all weights, of PyTorch."""
    import torch

    model.zero_grad()
    tensors = {name: torch.from_numpy(c) for name, c in columns.items()}
    logits = forward(tensors)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    loss(logits, torch.from_numpy(labels)).backward()
    gradients = {n: p.grad.numpy() for n, p in model.named_parameters()}
    return logits.detach().numpy(), gradients


def ours(model, columns, labels):
    """Returns logits and the gradients of all variables, of TensorFlow."""
    import keras
    import tensorflow as tf

    names = model.config.features.feature_names
    loss = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64")
    with tf.GradientTape() as tape:
        logits = model({name: columns[name] for name in names})["click"]
        value = loss(labels[:, None], logits)
    variables = [variable.value for variable in model.trainable_variables]
    gradients = tape.gradient(value, variables)
    return logits.numpy()[:, 0], [tf.convert_to_tensor(g) for g in gradients]


def by_name(model, gradients) -> dict:
    """Returns gradients of a model's variables by our names of arrays."""
    from wukong_tf.runs.arrays import model_slots

    pairs = zip(model.trainable_variables, gradients, strict=True)
    found = {id(variable): gradient.numpy() for variable, gradient in pairs}
    return {
        slot.name: found[id(slot.variable)][slice(*(slot.rows or (None,)))]
        for slot in model_slots(model)
    }


def difference(found: dict, expected: dict) -> float:
    """Returns the largest difference between two dicts of arrays."""
    import numpy as np

    if found.keys() != expected.keys():
        raise RuntimeError(f"keys differ: {found.keys() ^ expected.keys()}")
    return max(
        float(np.abs(found[key] - expected[key]).max()) for key in expected
    )


def compare(kind: str, model, forward) -> dict[str, float]:
    """Returns the largest differences from one implementation's model."""
    import keras
    import torch

    from wukong_tf import interop

    torch.manual_seed(0)
    model.double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
    config, arrays = interop.read(kind, state, spec(kind))
    mine = interop.build(config, arrays, dtype="float64")
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(mine.trainable_variables)
    result: dict[str, float] = {}
    for step in range(STEPS.value):
        columns, labels = batch(step)
        logits, gradients = theirs(model, forward, columns, labels)
        my_logits, my_gradients = ours(mine, columns, labels)
        if not result:
            result["logits"] = float(abs(my_logits - logits).max())
            written = interop.write(kind, config, by_name(mine, my_gradients))
            result["gradients"] = difference(written, gradients)
        optimizer.apply(my_gradients)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter -= RATE * torch.from_numpy(gradients[name])
    trained = {n: p.detach().numpy() for n, p in model.named_parameters()}
    written = interop.write(kind, config, interop.arrays(mine))
    result["training"] = difference(written, trained)
    return result


def main(argv):
    """Compares with every implementation that is given; prints the result."""
    del argv
    results: dict[str, dict[str, float] | str] = {}
    made = {}
    # All before TensorFlow, after which Triton cannot always be imported.
    with contextlib.redirect_stdout(sys.stderr):
        for kind, flag in FLAGS.items():
            if flag.value:
                made[kind] = MODELS[kind](os.path.abspath(flag.value))
    for kind in FLAGS:
        if kind not in made:
            results[kind] = f"skipped: --{kind} is not given"
            continue
        with contextlib.redirect_stdout(sys.stderr):
            results[kind] = compare(kind, *made[kind])
    shares = [
        found / TOLERANCES[what]
        for result in results.values()
        if isinstance(result, dict)
        for what, found in result.items()
    ]
    result = {
        "name": "interop",
        "value": max(shares, default=0.0),
        "unit": "largest difference over its tolerance",
        "bar": 1.0 if shares else None,
        "holds": max(shares) <= 1.0 if shares else None,
        "implementations": results,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    run_program(main)
