"""Sets up the strategy, threads and cluster of a run."""

import dataclasses
import logging
import os
import signal

import keras
import tensorflow as tf
from tensorflow.python.eager import context

from trainer.data.pipeline import Pipeline
from trainer.distribution.cluster import (
    WORKER,
    Cluster,
    find_cluster,
    refuse_a_second,
)
from trainer.distribution.workers import Workers
from trainer.process import console
from trainer.process.stop_signal import STOP
from trainer.settings import Devices, Machine
from wukong_tf.errors import ConfigError, LostWorkerError

ONE, MIRRORED, MULTI_WORKER = "one", "mirrored", "multi_worker"
LEADER = f"/job:{WORKER}/replica:0/task:0"


@dataclasses.dataclass(frozen=True)
class Distribution:
    """The devices and processes that a run computes on.

    Args:
        strategy: the strategy of tf.distribute.
        workers: the processes of the run.
        name: kind of strategy, "one", "mirrored" or "multi_worker".
        collectives: how replicas all-reduce, for the log.
        cluster: the cluster, or None for one process. Defaults to None.
    """

    strategy: tf.distribute.Strategy
    workers: Workers
    name: str
    collectives: str
    cluster: Cluster | None = None

    @property
    def replicas(self) -> int:
        """Number of replicas of all workers together."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def local_replicas(self) -> int:
        """Number of replicas of this worker."""
        return self.replicas // self.workers.count

    @property
    def replicas_on_this_host(self) -> int:
        """Number of replicas that share this host's memory."""
        here = self.cluster.on_this_host if self.cluster else 1
        return self.local_replicas * here

    @property
    def times_exchange(self) -> bool:
        """Whether the sum over replicas can be timed at no cost.

        It cannot on GPUs, since each step would wait for the device.
        """
        return not tf.config.list_logical_devices("GPU")

    def iterate(self, pipeline: Pipeline):
        """Returns an iterator over a pipeline made with `share`."""
        if self.replicas == 1:
            return iter(pipeline.dataset())
        # Declared infinite, or workers would ask each other before each batch
        # whether one is left. Callers know the number of batches.
        data = pipeline.dataset().apply(
            tf.data.experimental.assert_cardinality(
                tf.data.INFINITE_CARDINALITY
            )
        )
        return iter(
            self.strategy.distribute_datasets_from_function(lambda _: data)
        )

    def share(self) -> dict:
        """Returns the arguments of a `Pipeline` for this worker's share."""
        return {"part": self.workers.part, "replicas": self.local_replicas}

    def describe(self, batch_size: int) -> list[str]:
        """Returns log lines on devices, threads and the all-reduce."""
        devices = tf.config.list_logical_devices("GPU") or (
            tf.config.list_logical_devices("CPU")
        )
        devices = devices[: self.local_replicas]
        here = f"{self.local_replicas} replica(s) on {devices[0].name}"
        if len(devices) > 1:
            here += f" to {devices[-1].name}"
        lines = [
            f"strategy {self.name}: {here}"
            + (f" in each of {self.workers.count} workers" * bool(self.cluster))
            + f", threads: intra-op {threads('intra')}, "
            f"inter-op {threads('inter')} "
            f"(0 is one for each of the {os.cpu_count()} CPUs)"
        ]
        if self.replicas > 1:
            low = batch_size // self.replicas
            high = -(-batch_size // self.replicas)
            size = f"{low}" if low == high else f"{low} or {high}"
            lines.append(
                f"gradients are summed by {self.collectives}; a batch of "
                f"{batch_size} rows is {size} for each of {self.replicas} "
                "replicas"
            )
        if self.cluster:
            lines.append(
                f"workers by {self.cluster.source}: "
                + ", ".join(self.cluster.addresses)
            )
        return lines


def set_up(
    devices: Devices, machine: Machine, *, seed: int, deterministic: bool
) -> Distribution:
    """Sets seeds and threads, and joins the cluster if there is one.

    Args:
        devices: strategy, collectives and timeouts.
        machine: number of threads.
        seed: seed of weights and dropout.
        deterministic: whether TensorFlow must avoid operations whose result
            can differ from run to run.

    Raises:
        ConfigError: the flags contradict the machine, or Keras runs on
            another backend than TensorFlow.
        LostWorkerError: a worker did not join in --cluster_timeout_s.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            "the trainer needs Keras on TensorFlow; KERAS_BACKEND chose "
            f"{keras.backend.backend()!r}."
        )
    for kind in ("intra", "inter"):
        count = getattr(machine, f"{kind}_op_threads")
        # Once TensorFlow is initialized, it rejects even the same value.
        if threads(kind) != count:
            set_threads = f"set_{kind}_op_parallelism_threads"
            getattr(tf.config.threading, set_threads)(count)
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    # TensorFlow logs a line for every collective.
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    cluster = find_cluster()
    name = _choose(devices, cluster)
    gpus = tf.config.list_physical_devices("GPU")
    if name != ONE and devices.collectives == "nccl" and not gpus:
        raise ConfigError("--collectives=nccl needs GPUs; there are none.")
    if name == MULTI_WORKER and cluster is not None:
        return _multi_worker(devices, cluster)
    if name == MIRRORED:
        return _mirrored(devices)
    return one_device()


def one_device() -> Distribution:
    """Returns the distribution of a run on one device, in one process."""
    strategy = tf.distribute.get_strategy()
    return Distribution(strategy, Workers(strategy), ONE, "")


def _choose(devices, cluster):
    several = cluster is not None and len(cluster.addresses) > 1
    gpus = len(tf.config.list_physical_devices("GPU"))
    name = devices.strategy
    if name == "auto":
        if cluster is not None:
            return MULTI_WORKER
        return MIRRORED if gpus > 1 or devices.cpu_replicas else ONE
    if name == MULTI_WORKER and cluster is None:
        raise ConfigError(
            "--strategy=multi_worker needs TF_CONFIG or the variables of a "
            "SLURM step; there are none. trainer.launch sets TF_CONFIG."
        )
    if name != MULTI_WORKER and several:
        raise ConfigError(
            f"--strategy={name} contradicts {cluster.source}, which names "
            f"{len(cluster.addresses)} workers."
        )
    if devices.cpu_replicas and (name != MIRRORED or gpus):
        raise ConfigError(
            f"--cpu_replicas={devices.cpu_replicas} needs --strategy=mirrored "
            "on a machine without GPUs."
        )
    return name


def _mirrored(devices) -> Distribution:
    if tf.config.list_physical_devices("GPU"):
        if devices.collectives == "ring":
            raise ConfigError(
                "--collectives=ring contradicts --strategy=mirrored on GPUs, "
                "which uses NCCL."
            )
        strategy = tf.distribute.MirroredStrategy(
            cross_device_ops=tf.distribute.NcclAllReduce()
        )
        how = "NCCL"
    else:
        count = devices.cpu_replicas or 1
        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = tf.config.get_logical_device_configuration(cpu) or []
        if len(logical) != count:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
        strategy = tf.distribute.MirroredStrategy(
            [f"CPU:{number}" for number in range(count)],
            cross_device_ops=tf.distribute.ReductionToOneDevice(),
        )
        how = "adding on one CPU, in one process"
    return Distribution(strategy, Workers(strategy), MIRRORED, how)


def _multi_worker(devices, cluster: Cluster) -> Distribution:
    kind = devices.collectives
    if kind == "auto":
        gpus = tf.config.list_physical_devices("GPU")
        kind = "nccl" if gpus else "ring"
    implementation = tf.distribute.experimental.CommunicationImplementation
    if len(cluster.addresses) > 1:
        refuse_a_second(cluster)
    os.environ["TF_CONFIG"] = cluster.tf_config()
    _configure_heartbeats(devices, cluster)
    _bound_the_wait(devices.cluster_timeout_s, cluster)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=tf.distribute.experimental.CommunicationOptions(
                implementation=getattr(implementation, kind.upper())
            )
        )
        workers = Workers(strategy, cluster.index, cluster.addresses)
        workers.gather(None)  # checks that all joined and collectives work
    except tf.errors.OpError as error:
        raise LostWorkerError(
            f"worker {cluster.index}: not all workers of "
            f"{', '.join(cluster.addresses)} joined: "
            f"{' '.join(error.message.split())[:500]}"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        STOP.arm()
    how = {"nccl": "NCCL", "ring": "a ring over gRPC"}[kind]
    return Distribution(strategy, workers, MULTI_WORKER, how, cluster)


def _bound_the_wait(timeout_s, cluster):
    """Ends the process by SIGALRM unless it joins the others in time.

    TensorFlow waits forever for a worker that never joins, and holds the GIL
    meanwhile: only a signal's default action can end it then, which is also
    restored for the signals that ask to stop.
    """
    console.log(
        f"worker {cluster.index}: waiting at most --cluster_timeout_s="
        f"{timeout_s} s for {', '.join(cluster.addresses)}",
        of_each=True,
    )
    console.drain()
    STOP.disarm()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)


def _configure_heartbeats(devices, cluster):
    """Sets the timeouts of heartbeats and of joining the cluster."""
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2

    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=LEADER,
        cluster_register_timeout_in_ms=devices.cluster_timeout_s * 1000,
        heartbeat_timeout_in_ms=devices.worker_timeout_s * 1000,
        # Workers may end long before the chief has written the report.
        shutdown_barrier_timeout_in_ms=1000,
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(
                name=WORKER, num_tasks=len(cluster.addresses)
            )
        ],
    )


def threads(kind: str) -> int:
    """Returns the threads per operation ("intra") or across them ("inter")."""
    return getattr(tf.config.threading, f"get_{kind}_op_parallelism_threads")()
