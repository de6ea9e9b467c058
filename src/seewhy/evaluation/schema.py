"""Tables that are read back are checked once, where they are read: by their columns."""

import polars as pl

from seewhy.evaluation.columns import Table


def checked_table(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The columns of ``table``, in its order. ValueError says which is missing or of another type, or has what none has."""
    for name, kind in table.columns.items():
        if frame.schema.get(name) != kind:
            found = f"has the type {frame.schema[name]}, not {kind}" if name in frame.schema else "is missing"
            raise ValueError(f"its column {name} {found}")
    frame = frame.select(*table.columns)
    for name, kind in table.columns.items():
        cells = frame[name].drop_nulls()
        if len(cells) < len(frame) and name not in table.optional:
            raise ValueError(f"its column {name} has empty cells")
        numbers = cells.list.explode(empty_as_null=False) if isinstance(kind, pl.List) else cells
        if numbers.null_count():
            raise ValueError(f"its column {name} has lists with empty places")
        if numbers.dtype.is_integer() and (numbers < 0).any():
            raise ValueError(f"its column {name} has numbers below 0")
        if name in table.finite and not (numbers.is_finite() & (numbers >= 0)).all():
            raise ValueError(f"its column {name} has numbers that are not finite, or below 0")
    for name, needs in table.needs.items():
        if frame.filter(pl.col(name).is_not_null() & pl.any_horizontal(pl.col(*needs).is_null())).height:
            raise ValueError(f"a line has {name}, and not all of {', '.join(needs)}")
    if table.key and frame.filter(pl.col(table.counted).is_not_null()).select(*table.key).is_duplicated().any():
        raise ValueError(f"two lines have the same {', '.join(table.key)}")
    return frame
