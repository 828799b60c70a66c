"""Files of kept pair sums: one for each bundle and span, beside the sums of velocities (`engine.kept.cache`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.engine.kept.cache import FAULTS, Extent, Shelf, header_of, is_of, may_keep, opened, part_of, write
from analyzer.engine.kept.contents import Checksums

Array = np.ndarray[Any, np.dtype[Any]]


def load_pairs(place: Shelf, extent: Extent, shape: tuple[int, ...]) -> tuple[Array, dict[str, int]] | None:
    """The kept sums of a span, (pieces, strips, lags, 2, 2), and the first frame that is not finite by parameter.

    None where there are none that fit.
    """
    try:
        with opened(place.file(extent.start)) as file:
            header, body = header_of(file)
            if header["blocks"] != extent.layout or not (place.alone or is_of(place, extent.start, header)):
                return None
            raw = part_of(file, header, body, "pairs")
            return np.frombuffer(raw, "<f8").reshape(shape), dict(header["nonfinite"])
    except FAULTS:
        return None


def keep_pairs(place: Shelf, extent: Extent, sums: Array, nonfinite: dict[str, int], chunks: Checksums) -> None:
    """Keep the sums of a span, unless sums of other frames lie there. Where nothing can be written, nothing is kept.

    Parameters
    ----------
    chunks
        Checksums of the chunks that the sums were made from, including chunks before the span.
    """
    if may_keep(place, extent, chunks):
        write(place, extent, {"pairs": [sums.astype("<f8")]}, chunks, {"nonfinite": nonfinite})
