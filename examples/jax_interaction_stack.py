"""InteractionStack in a JAX program: KERAS_BACKEND=jax python FILE.

The stack is used as a pure function of its weights, as JAX requires: one jitted
step computes the loss and the gradients and updates the weights. Needs jax and
keras; TensorFlow is not imported.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402

from wukong_tf.layers import MLP, InteractionStack  # noqa: E402

FEATURES, IDS, WIDTH, BATCH, STEPS = 8, 50, 16, 512, 300


class Clicks:
    """Batches of ids, and clicks that depend on two of them and the pair."""

    def __init__(self, seed: int = 0):
        self._random = np.random.default_rng(seed)
        self._latents = self._random.normal(size=(FEATURES, IDS))

    def batch(self):
        """Returns ids, int32 [B, F], and clicks, float32 [B]."""
        ids = self._random.integers(0, IDS, (BATCH, FEATURES), np.int32)
        latents = np.take_along_axis(self._latents, ids.T, axis=1)  # [F, B]
        logit = latents[0] + latents[1] + latents[0] * latents[1]
        click = self._random.random(BATCH) < 1 / (1 + np.exp(-logit))
        return ids, click.astype(np.float32)


def main():
    """Trains and prints the loss."""
    keras.utils.set_random_seed(0)
    stack = InteractionStack(2, 4, 4, rank=4, mlp_units=(64,))
    stack.build((None, FEATURES, WIDTH))
    head = MLP((32, 1))
    head.build((None, 8 * WIDTH))
    optimizer = keras.optimizers.Adam(1e-2)
    table = keras.Variable(
        0.05 * np.random.default_rng(1).normal(size=(FEATURES, IDS, WIDTH)),
        name="table",
    )
    layers = (stack, head)
    trained = [table, *(v for x in layers for v in x.trainable_variables)]
    optimizer.build(trained)
    split = 1 + len(stack.trainable_variables)

    def loss_of(weights, ids, click):
        rows = weights[0][jnp.arange(FEATURES), ids]  # [B, F, d]
        # The second result is the layers' non-trainable state, which is empty.
        x, _ = stack.stateless_call(weights[1:split], [], rows)  # [B, 8, d]
        flat = x.reshape(len(x), -1)
        logit, _ = head.stateless_call(weights[split:], [], flat)
        return keras.ops.mean(
            keras.ops.binary_crossentropy(
                click[:, None], logit, from_logits=True
            )
        )

    @jax.jit
    def step(weights, state, ids, click):
        loss, gradients = jax.value_and_grad(loss_of)(weights, ids, click)
        weights, state = optimizer.stateless_apply(state, gradients, weights)
        return weights, state, loss

    clicks = Clicks()
    weights = [variable.value for variable in trained]
    state = [variable.value for variable in optimizer.variables]
    for number in range(STEPS):
        weights, state, loss = step(weights, state, *clicks.batch())
        if number % 50 == 0 or number == STEPS - 1:
            print(f"step {number}: loss {float(loss):.4f}", flush=True)
    for variable, value in zip(trained, weights, strict=True):
        variable.assign(value)  # so that the layers can be saved


if __name__ == "__main__":
    main()
