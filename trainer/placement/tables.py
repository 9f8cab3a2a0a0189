"""Places tables on devices before any of them is allocated."""

import dataclasses
import subprocess
from collections.abc import Collection, Sequence

from trainer.placement import host_memory
from trainer.settings import Machine, Training, memory_dtype
from wukong_tf.config import ModelConfig
from wukong_tf.errors import ConfigError
from wukong_tf.scaling import Cost, cost

FLOAT_BYTES = 4
ACCELERATOR, HOST = "accelerator", "cpu"
GIB = 2**30
# Share of an accelerator's memory left for its libraries and for
# fragmentation.
RESERVED = 0.1


def model_cost(
    config: ModelConfig,
    training: Training,
    replicas: int = 1,
    state_workers: int = 1,
) -> Cost:
    """Returns the cost of the model under these training settings.

    Args:
        config: the model's configuration.
        training: the settings.
        replicas: replicas that share a batch. Defaults to 1.
        state_workers: workers over which the dense part's optimizer state is
            sharded. Defaults to 1.
    """
    parts = replicas * training.gradient_accumulation_steps
    return cost(
        config,
        batch_size=-(-training.batch_size // parts),
        dtype=memory_dtype(training.precision),
        remat=training.remat,
        table_optimizer=training.table_optimizer,
        state_workers=state_workers,
    )


@dataclasses.dataclass(frozen=True)
class Device:
    """A device that can hold tables.

    Args:
        name: "cpu" or "accelerator".
        bytes: its memory, or None if unknown.
    """

    name: str
    bytes: int | None


@dataclasses.dataclass(frozen=True)
class PlacedTable:
    """A table and its device.

    Args:
        name: name of the table.
        rows: number of rows.
        width: floats per row.
        device: name of the device.
        state_bytes: bytes of its optimizer state on one worker.
        shards: workers that its rows are sharded over. Defaults to 1.
    """

    name: str
    rows: int
    width: int
    device: str
    state_bytes: int
    shards: int = 1

    @property
    def bytes(self) -> int:
        """Bytes of its rows on one worker, float32."""
        return FLOAT_BYTES * -(-self.rows // self.shards) * self.width


@dataclasses.dataclass(frozen=True)
class Placement:
    """Devices of the tables and the dense part of a training run.

    Args:
        tables: the tables, in the order of the features.
        devices: the available devices; the dense part is on the first.
        dense_bytes: weights, optimizer state and activations of the dense
            part.
    """

    tables: tuple[PlacedTable, ...]
    devices: tuple[Device, ...]
    dense_bytes: int

    @property
    def sharded_tables(self) -> tuple[str, ...]:
        """Names of the tables whose rows are sharded over the workers."""
        return tuple(t.name for t in self.tables if t.shards > 1)

    @property
    def host_tables(self) -> tuple[str, ...]:
        """Names of the tables on the host, if the dense part is elsewhere."""
        if len(self.devices) == 1:
            return ()
        return tuple(t.name for t in self.tables if t.device == HOST)

    def used(self, device: Device) -> int:
        """Returns the bytes that the run needs on a device."""
        used = sum(
            table.bytes + table.state_bytes
            for table in self.tables
            if table.device == device.name
        )
        first = device.name == self.devices[0].name
        return used + (self.dense_bytes if first else 0)

    def check(self):
        """Raises ConfigError if the run does not fit the devices.

        Raises:
            ConfigError: the message names the largest table and the bytes.
        """
        for device in self.devices:
            used = self.used(device)
            if device.bytes is None or used <= device.bytes:
                continue
            parts = []
            placed = [t for t in self.tables if t.device == device.name]
            if placed:
                most = max(placed, key=lambda table: table.bytes)
                parts.append(
                    f"table {most.name!r} ({most.rows:,} rows of width "
                    f"{most.width}), the largest, with its optimizer state "
                    f"{most.bytes + most.state_bytes:,}"
                )
            if device.name == self.devices[0].name:
                parts.append(
                    "the dense part with its optimizer state and activations "
                    f"{self.dense_bytes:,}"
                )
            raise ConfigError(
                f"{device.name} has {device.bytes:,} bytes, but the run needs "
                f"{used:,} there: {', '.join(parts)}. Nothing was allocated. "
                "Fewer rows, hashing, narrower tables, a smaller --batch_size, "
                "another --table_device or --table_placement=sharded with "
                "several workers help."
            )


def place(
    costs: Cost,
    devices: Sequence[Device],
    table_device: str = "auto",
    *,
    replicas: int = 1,
    sharded: Collection[str] = (),
    workers: int = 1,
) -> Placement:
    """Places the tables of a model on devices.

    Args:
        costs: the cost of the model: its tables and bytes.
        devices: the available devices, that of the dense part first.
        table_device: "accelerator", "cpu", or "auto": the accelerator holds
            the dense part and as many tables as fit, the smallest first, and
            the host the others. Defaults to "auto".
        replicas: number of replicas on the host. An accelerator holds one.
            Defaults to 1.
        sharded: names of tables whose rows are sharded over the workers; they
            are on the device of the dense part. Defaults to none.
        workers: number of workers. Defaults to 1.

    Raises:
        ConfigError: "accelerator" is chosen but there is none, or there are
            several replicas with accelerators and tables on the host.
    """
    devices = _of_a_replica(devices, replicas)
    dense = _dense_bytes(costs)
    first = devices[0]
    if table_device == ACCELERATOR and first.name != ACCELERATOR:
        raise ConfigError(
            "--table_device=accelerator needs an accelerator; TensorFlow "
            "sees none."
        )
    elsewhere = HOST if table_device == HOST else first.name
    tables = [
        _placed(costs, table, first.name, workers)
        if table.name in sharded
        else _placed(costs, table, elsewhere)
        for table in costs.tables
    ]
    if table_device == "auto" and len(devices) > 1 and first.bytes is not None:
        tables = _within(first.bytes - dense, tables)
    placed = Placement(tuple(tables), tuple(devices), dense)
    if replicas > 1 and placed.host_tables:
        raise ConfigError(
            f"tables {list(placed.host_tables)} do not fit an accelerator, and "
            f"{replicas} replicas cannot share tables in the host's memory; "
            "only one replica can use them. Smaller or narrower tables would "
            "fit the accelerators."
        )
    return placed


def _placed(costs, table, device, shards=1):
    part = dataclasses.replace(table, rows=-(-table.rows // shards))
    return PlacedTable(
        table.name,
        table.rows,
        table.width,
        device,
        costs.state_bytes(part),
        shards,
    )


def _within(left, tables):
    """Moves tables that do not fit to the host; sharded ones stay."""
    host = set()
    for table in sorted(
        tables, key=lambda t: (t.shards == 1, t.rows * t.width)
    ):
        left -= table.bytes + table.state_bytes
        if left < 0 and table.shards == 1:
            host.add(table.name)
    return [
        dataclasses.replace(t, device=HOST) if t.name in host else t
        for t in tables
    ]


def bytes_for_tables(
    costs: Cost, devices: Sequence[Device], replicas: int = 1
) -> int | None:
    """Returns the bytes next to the dense part, or None if unknown.

    Args:
        costs: the cost of the model.
        devices: the available devices, that of the dense part first.
        replicas: number of replicas on the host. Defaults to 1.
    """
    size = _of_a_replica(devices, replicas)[0].bytes
    return None if size is None else size - _dense_bytes(costs)


def _of_a_replica(devices, replicas):
    """Returns the devices with a replica's share of the host's memory."""
    return [
        dataclasses.replace(device, bytes=device.bytes // replicas)
        if device.name == HOST and device.bytes is not None
        else device
        for device in devices
    ]


def _dense_bytes(costs):
    return costs.bytes - costs.table_bytes - costs.table_state_bytes


def available_devices(machine: Machine) -> list[Device]:
    """Returns the devices that TensorFlow sees, and the memory of each.

    --accelerator_memory_gib and --host_memory_gib take precedence, even if
    TensorFlow sees no accelerator, so one can plan for another machine.
    """
    import tensorflow as tf

    host = host_memory.total_bytes()
    if machine.host_memory_gib:
        host = int(machine.host_memory_gib * GIB)
    devices = [Device(HOST, host)]
    if machine.accelerator_memory_gib:
        size = int(machine.accelerator_memory_gib * GIB)
        return [Device(ACCELERATOR, size), *devices]
    if tf.config.list_physical_devices("GPU"):
        return [Device(ACCELERATOR, _accelerator_memory()), *devices]
    return devices


def _accelerator_memory() -> int | None:
    """Returns the bytes usable on the smallest accelerator, or None."""
    command = ["nvidia-smi", "--query-gpu=memory.total"]
    command += ["--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        )
        mebibytes = min(int(line) for line in done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return int(mebibytes * 2**20 * (1 - RESERVED))
