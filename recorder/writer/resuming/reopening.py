"""Opens a store that has frames, if its parameters and sizes are those that a session will write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recorder.budget import compressing_threads
from recorder.errors import SchemaError
from recorder.names import as_text
from recorder.spool_files import Session
from recorder.writer.store import StoreWriter
from recorder.writer.trust import Members, read_members


def reopen(store: Path, session: Session, attributes: dict[str, Any]) -> StoreWriter:
    """Return a writer that goes on after the last published frame of a store.

    Parameters
    ----------
    store : Path
        The caller has locked it.
    session : Session
    attributes : dict
        Root attributes.

    Raises
    ------
    SchemaError
        The session records other parameters, or with other sizes.
    StoreFormatError
        The store is damaged.
    """
    members = read_members(store)
    _check_same(session, attributes, members)
    return StoreWriter(
        store,
        session.schema,
        attributes,
        frames=members.frames,
        param_groups=session.param_groups,
        scalars=members.scalars,
        names=members.names,
        threads=compressing_threads(),
    )


def _check_same(session: Session, attributes: dict[str, Any], members: Members) -> None:
    """Check that the store holds the parameters and has the sizes that this recording will write."""
    held = dict(members.parameters)
    remedy = "A store holds one model: record into a new store, or resume with the model and options of the first run."
    for parameter in session.schema.parameters:
        found = held.pop(as_text(parameter.name), None)
        if found is None:
            raise SchemaError(
                f"parameter {parameter.name}: expected it in {session.store}, but the store has none. {remedy}"
            )
        if found != (list(parameter.shape), parameter.dtype):
            raise SchemaError(
                f"parameter {parameter.name}: the store holds shape {found[0]}, {found[1]}, the model has "
                f"{list(parameter.shape)}, {parameter.dtype}. {remedy}",
                parameter=parameter.name,
            )
    if held:
        raise SchemaError(f"parameter {next(iter(held))}: the store holds it, the model to record has none. {remedy}")
    for name, ours, theirs in (
        ("stride", session.attributes["stride"], attributes["stride"]),
        ("chunk_steps", session.attributes["chunk_steps"], attributes["chunk_steps"]),
        ("compression", session.attributes["compression"], attributes["compression"]),
        ("number of parameter groups", session.param_groups, members.param_groups),
    ):
        if ours != theirs:
            raise SchemaError(f"{name}: the store has {theirs}, this recording {ours}. {remedy}")
