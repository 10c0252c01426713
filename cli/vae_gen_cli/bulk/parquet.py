"""Shards as Parquet files: the schemas of `sample` and `encode`, and how a shard is written row group by row group.

docs/bulk.md describes the columns. Equal rows give equal bytes with one version of pyarrow: there is no date in a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

from vae_gen import UnavailableError

from .plan import Plan, Shard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vae_gen import Samples

    from .work import Encoded

ROWS = 4096
"""The rows of a row group. A writer holds one row group in memory."""
METADATA = "vae-gen"
"""The key of the schema's metadata whose value is `Plan.facts` as JSON, so that a file can be read by itself."""


def import_pyarrow() -> Any:
    """Returns the package pyarrow.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UnavailableError(
            "expected the package pyarrow, which writes Parquet, got none; install the extra parquet: "
            'pip install "vae-gen[parquet]", or pip install pyarrow'
        ) from error
    return pyarrow


def write_samples(file: IO[bytes], plan: Plan, chunks: Iterable[Samples]) -> None:
    """Writes a shard of samples, whose images are grey levels, with a row group for each chunk."""
    import numpy as np

    pa = import_pyarrow()
    schema = sample_schema(plan)

    def batches() -> Iterator[Any]:
        for chunk in chunks:
            found = chunk.labels
            labels = np.full(len(chunk), -1) if found is None else found
            columns = [
                pa.array(chunk.indices), pa.array(labels.astype(np.int16)),
                _vectors(chunk.latents), _fixed(chunk.images),
            ]  # fmt: skip
            yield pa.record_batch(columns, schema=schema)

    _write(file, schema, batches())


def sample_schema(plan: Plan) -> Any:
    """The columns of a shard of samples."""
    import math

    pa = import_pyarrow()
    return _schema(
        plan, index=pa.int64(), label=pa.int16(), latent=_vector_type(plan.model["latent_dim"]),
        image=pa.binary(math.prod(plan.model["image_shape"])),
    )  # fmt: skip


def write_latents(file: IO[bytes], plan: Plan, chunks: Iterable[Encoded]) -> None:
    """Writes a shard of posteriors, with a row group for each chunk."""
    pa = import_pyarrow()
    vector = _vector_type(plan.model["latent_dim"])
    schema = _schema(
        plan, index=pa.int64(), file=pa.string(), mean=vector, log_variance=vector, familiar=pa.bool_()
    )  # fmt: skip

    def batches() -> Iterator[Any]:
        for chunk in chunks:
            names = [name.encode("utf-8", "replace").decode() for name in chunk.names]
            columns = [
                pa.array(chunk.indices), pa.array(names, pa.string()), _vectors(chunk.posterior.mean),
                _vectors(chunk.posterior.log_variance), pa.array(chunk.familiar),
            ]  # fmt: skip
            yield pa.record_batch(columns, schema=schema)

    _write(file, schema, batches())


def read_samples(file: IO[bytes], plan: Plan, first: int, count: int) -> tuple[Any, Any, Any]:
    """Reads some rows of a shard of samples.

    Args:
        file: the shard.
        plan: the plan of its folder.
        first: the number of the first row.
        count: the number of rows.

    Returns:
        the pictures, uint8 [n, channels, height, width]; the latents, float32 [n, dimensions]; and the labels, [n].
    """
    import numpy as np

    import_pyarrow()
    from pyarrow.parquet import ParquetFile

    opened = ParquetFile(file)
    groups, behind = [], 0
    for at in range(opened.num_row_groups):
        before, behind = behind, behind + opened.metadata.row_group(at).num_rows
        if before < first + count and behind > first:
            groups.append((at, before))
    table = opened.read_row_groups([at for at, _ in groups]).slice(first - groups[0][1], count)
    images = np.frombuffer(b"".join(table["image"].to_pylist()), np.uint8).reshape(-1, *plan.model["image_shape"])
    latents = np.array(table["latent"].to_pylist(), np.float32)
    return images, latents, np.array(table["label"].to_pylist(), np.int64)


def has_indices(file: IO[bytes], shard: Shard) -> bool:
    """Whether the column `index` of a shard has each of its indices once, in order."""
    import numpy as np

    import_pyarrow()
    from pyarrow.parquet import ParquetFile

    found = ParquetFile(file).read(columns=["index"])["index"].to_numpy()
    return bool(np.array_equal(found, shard.start + np.arange(shard.count)))


def _schema(plan: Plan, **columns: Any) -> Any:
    pa = import_pyarrow()
    fields = [pa.field(name, kind, nullable=False) for name, kind in columns.items()]
    return pa.schema(fields, metadata={METADATA: json.dumps(plan.facts())})


def _write(file: IO[bytes], schema: Any, batches: Iterable[Any]) -> None:
    from pyarrow.parquet import ParquetWriter

    options: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": False}
    options |= {"write_statistics": ["index"], "write_page_checksum": True}
    with ParquetWriter(file, schema, **options) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=ROWS)


def _vector_type(width: int) -> Any:
    pa = import_pyarrow()
    return pa.list_(pa.field("element", pa.float32(), nullable=False), width)


def _vectors(rows: NDArray[np.float32]) -> Any:
    """A column of vectors, from float32 [n, width]."""
    import numpy as np

    pa = import_pyarrow()
    values = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, type=_vector_type(rows.shape[1]))


def _fixed(images: NDArray[np.uint8]) -> Any:
    """A column of pictures as bytes, from uint8 [n, channels, height, width]: channel by channel, row by row."""
    import math

    import numpy as np

    pa = import_pyarrow()
    buffer = pa.py_buffer(np.ascontiguousarray(images))
    return pa.Array.from_buffers(pa.binary(math.prod(images.shape[1:])), len(images), [None, buffer])
