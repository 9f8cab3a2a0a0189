"""Assignment of variables to optimizers, each to exactly one."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from wukong_tf.errors import ConfigError
from wukong_tf.optimizers import replica_sum
from wukong_tf.optimizers.weight_average import OptimizerAverage, WeightAverage

TABLES = r"(^|/)((host|sharded)_)?tables_\d+/table$"


class OptimizerGroups:
    """Optimizers and the variables that each one owns.

    Args:
        variables: every trainable variable of a model.
        optimizers: dict of group name to (optimizer, pattern): the optimizer
            owns the variables whose path contains a match of the regular
            expression; None matches what no other group claims.
        average: (group names, decay) of a running average of these groups'
            variables, which `apply` updates after each step. Defaults to None,
            none but that of an optimizer which averages by itself.
        ways: dict of path of a variable with sparse gradients to how they are
            summed over replicas, "gather" or "reduce"; see
            `wukong_tf.optimizers.replica_sum`. Defaults to "gather" for all.
        sharded_state: names of groups whose slots are sharded over the workers
            of a `tf.distribute.MultiWorkerMirroredStrategy` with one replica
            each: a worker has those of an equal share of the variables' rows,
            which it updates and sends to the others. The steps are the same.
            Defaults to (), each worker has all slots.

    Attributes:
        average: the `WeightAverage`, once it is built, or None.

    Raises:
        ConfigError: a variable is claimed by no group or by two, or two groups
            have the pattern None; names the variable or the groups.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        optimizers: dict[str, tuple[Any, str | None]],
        average: tuple[Sequence[str], float] | None = None,
        ways: Mapping[str, str] | None = None,
        sharded_state: Collection[str] = (),
    ):
        rest = [n for n, (_, pattern) in optimizers.items() if pattern is None]
        if len(rest) > 1:
            raise ConfigError(
                f"optimizers {rest} both claim all remaining variables."
            )
        self.optimizers = {n: o for n, (o, _) in optimizers.items()}
        self.variables: dict[str, list] = {name: [] for name in optimizers}
        self.average: WeightAverage | None = None
        self._average = average
        self._sharded_state = sharded_state
        self._order = []
        self._all = list(variables)
        self._ways = [
            (ways or {}).get(v.path, replica_sum.GATHER) for v in variables
        ]
        self._summed_here = []  # per variable; other optimizers sum themselves
        for optimizer in self.optimizers.values():
            if hasattr(optimizer, "gradients_are_summed"):
                optimizer.gradients_are_summed = True
        for variable in variables:
            claims = [
                name
                for name, (_, pattern) in optimizers.items()
                if pattern is not None and re.search(pattern, variable.path)
            ] or rest
            if len(claims) != 1:
                what = f"by {claims}" if claims else "by no optimizer"
                raise ConfigError(
                    "each trainable variable must be claimed by exactly one "
                    f"optimizer; {variable.path!r} is claimed {what}."
                )
            group = self.variables[claims[0]]
            self._order.append((claims[0], len(group)))
            self._summed_here.append(
                hasattr(self.optimizers[claims[0]], "gradients_are_summed")
                and not hasattr(variable, "shards")
            )
            group.append(variable)

    def build(self):
        """Creates the optimizers' slots; call it under the strategy's scope.

        Raises:
            ConfigError: slots of a group in `sharded_state` cannot be sharded,
                or the strategy's replicas are not of one worker each.
        """
        for name, optimizer in self.optimizers.items():
            if self.variables[name]:
                if name in self._sharded_state:
                    self._shard_state(name, optimizer)
                optimizer.build(self.variables[name])
        if self._average is not None:
            names, decay = self._average
            averaged = [v for name in names for v in self.variables[name]]
            self.average = WeightAverage(averaged, decay)
        for name, optimizer in self.optimizers.items():
            if hasattr(optimizer, "evaluated"):
                self._average = ((name,), 0.0)
                self.average = OptimizerAverage(self.variables[name], optimizer)

    def _shard_state(self, name, optimizer):
        """Makes an optimizer create and update only this worker's rows."""
        from wukong_tf.sharding import collectives, weights

        if not hasattr(optimizer, "owned") or hasattr(optimizer, "row_slots"):
            raise ConfigError(
                f"optimizers[{name!r}]: the slots of "
                f"{type(optimizer).__name__} cannot be sharded by variables."
            )
        count, index = collectives.members("slots of optimizers")
        if count > 1:
            optimizer.owned = weights.OwnedWeights(
                self.variables[name], count, index, whole=not optimizer.by_rows
            )

    def sum_over_replicas(self, gradients: Sequence[Any]) -> list:
        """Returns the gradients of the global batch.

        Args:
            gradients: gradients of this replica's share of the batch, in the
                constructor's order of variables. Those of optimizers that
                all-reduce themselves, as Keras's do, are returned unchanged,
                as are those of sharded tables, which each worker gets from all
                others.
        """
        mine = [i for i, here in enumerate(self._summed_here) if here]
        sums = replica_sum.sum_over_replicas(
            [gradients[i] for i in mine],
            [self._all[i] for i in mine],
            [self._ways[i] for i in mine],
        )
        summed = list(gradients)
        for index, total in zip(mine, sums, strict=True):
            summed[index] = total
        return summed

    def apply(self, gradients: Sequence[Any]):
        """Applies one step of every optimizer.

        Args:
            gradients: gradients as returned by `sum_over_replicas`.
        """
        grouped: dict[str, list] = {
            name: [None] * len(group) for name, group in self.variables.items()
        }
        for (name, index), gradient in zip(self._order, gradients, strict=True):
            grouped[name][index] = gradient
        for name, optimizer in self.optimizers.items():
            if grouped[name]:
                optimizer.apply(grouped[name], self.variables[name])
        if self.average is not None and self._average is not None:
            steps = self.optimizers[self._average[0][0]].iterations
            self.average.update(steps)
