"""Places the tables of a run on the devices of all its workers."""

from trainer.distribution.strategies import Distribution
from trainer.placement.sharding import describe, place_on_workers
from trainer.placement.tables import (
    Placement,
    available_devices,
    bytes_for_tables,
)
from trainer.settings import Settings
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError
from wukong_tf.scaling import Cost


def place_together(
    settings: Settings,
    distribution: Distribution,
    costs: Cost,
    features: FeatureSpec,
    *,
    trains: bool = True,
) -> tuple[Placement, list[str]]:
    """Places the tables of a run; all workers must call it together.

    Args:
        settings: the settings of the run.
        distribution: its devices and workers.
        costs: the cost of the model.
        features: its features.
        trains: whether tables are trained or only read. Defaults to True.

    Returns:
        The placement, and log lines on sharded tables.

    Raises:
        ConfigError: the settings contradict each other, or the tables do not
            fit the devices.
    """
    workers, replicas = distribution.workers, distribution.local_replicas
    _check_replicas(settings.devices, replicas, trains)
    devices = available_devices(settings.machine)
    here = distribution.replicas_on_this_host
    left = workers.gather(bytes_for_tables(costs, devices, here))
    placed, tables = place_on_workers(
        settings,
        costs,
        features,
        devices,
        workers=workers.count if replicas == 1 else 1,
        replicas=here,
        free_bytes=None if None in left else min(left),
        trains=trains,
    )
    placed.check()
    return placed, describe(settings.devices, tables, placed.sharded_tables)


def _check_replicas(devices, replicas, trains):
    """Raises ConfigError if replicas of one process cannot share a run."""
    for name in ("table_placement", "dense_state")[: 1 + trains]:
        if getattr(devices, name) == "sharded" and replicas > 1:
            raise ConfigError(
                f"--{name}=sharded needs one replica in each process; this "
                f"one has {replicas}. python -m trainer.launch "
                f"--workers={replicas} -- FLAGS starts a process for each."
            )
