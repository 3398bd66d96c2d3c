"""Who acts and why, for the transactions that begin while a context is active."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, ParamSpec, TypeVar, cast
from uuid import UUID

from audit_schema.errors import AuditContextError

MAX_BYTES: Final = 64 * 1024
"""Largest context, encoded as JSON."""
MAX_ACTOR_BYTES: Final = 2500
"""Longest actor in UTF-8: PostgreSQL keeps an index of actors."""

P = ParamSpec("P")
R = TypeVar("R")


class context:
    """Record *actor* and *metadata* with every change of the transactions begun inside.

    Use it as `with`, as `async with`, or as a decorator of a `def` or `async def` function (a
    fresh context per call). A context inside another one inherits what it doesn't name: metadata
    is merged, and an actor replaces the outer actor together with its type and label.

    actor: who is accountable, as the application knows it: text, int or UUID, never empty, up to
    MAX_ACTOR_BYTES bytes.
    actor_type: kind of actor, e.g. "user" or "service". actor_label: its name at this time.
    metadata: JSON values by name: request id, reason, ticket. All of it together may take
    MAX_BYTES bytes as JSON.

    Raises AuditContextError on entry for what PostgreSQL could not store.
    """

    def __init__(
        self,
        /,
        actor: str | int | UUID | None = None,
        *,
        actor_type: str | None = None,
        actor_label: str | None = None,
        **metadata: Any,
    ) -> None:
        self._own = _identity(actor, actor_type, actor_label)
        self._metadata = metadata

    def __enter__(self) -> context:
        outer = _active.get()
        _active.set(_Holder(self, outer, self._own, self._metadata))
        return self

    def __exit__(self, *_: object) -> None:
        inner, holder = None, _active.get()
        while holder is not None and holder.owner is not self:
            inner, holder = holder, holder.outer
        if holder is None:  # entered by another thread or task, whose value this one never saw
            return
        if inner is None:
            _active.set(holder.outer)
        else:  # left before a context inside it, as interleaved generators do
            inner.outer = holder.outer

    async def __aenter__(self) -> context:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise AuditContextError(
                f"context() can't decorate the generator {function.__qualname__!r}: it would end "
                "before the first value; use `with context(...)` inside it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._fresh():
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", call_async)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._fresh():
                return function(*args, **kwargs)

        return call

    def _fresh(self) -> context:
        return context(**self._own, **self._metadata)


def set_actor(
    actor: str | int | UUID, *, actor_type: str | None = None, actor_label: str | None = None
) -> None:
    """Name the actor of the active context, type and label with it, once it is known.

    Changes the context itself, so code that shares it sees the new actor: the endpoint after a
    dependency that ran in a thread pool. A transaction that has begun keeps the old one; see
    apply(). Raises AuditContextError outside a context or for an actor that can't be recorded.
    """
    holder = _required()
    identity = _identity(actor, actor_type, actor_label)
    if not identity:
        raise AuditContextError("set_actor() needs an actor, got None")
    holder.replace(identity, holder.metadata)


def encoded() -> str | None:
    """Return the active context as ASCII JSON text; None when there is nothing to send."""
    holder = _active.get()
    return holder.encoded if holder is not None else None


def required() -> str:
    """Return the active context as ASCII JSON text; raises AuditContextError when there is none."""
    return _required().encoded or "{}"


class _Holder:
    """The values of one entered context; copies of a ContextVar share it."""

    __slots__ = ("encoded", "identity", "metadata", "outer", "owner")

    def __init__(
        self,
        owner: context,
        outer: _Holder | None,
        identity: dict[str, str],
        metadata: dict[str, Any],
    ) -> None:
        self.owner, self.outer = owner, outer
        if outer is not None:
            identity = identity if "actor" in identity else outer.identity | identity
            metadata = outer.metadata | metadata
        self.replace(identity, metadata)

    def replace(self, identity: dict[str, str], metadata: dict[str, Any]) -> None:
        encoded = _encode(identity | ({"metadata": metadata} if metadata else {}))
        self.identity, self.metadata, self.encoded = identity, metadata, encoded


_active: ContextVar[_Holder | None] = ContextVar("audit_schema.context", default=None)


def _required() -> _Holder:
    holder = _active.get()
    if holder is None:
        raise AuditContextError(
            "no audit context is active here; enter one: `with audit_schema.context(...):`"
        )
    return holder


def _identity(actor: object, actor_type: object, actor_label: object) -> dict[str, str]:
    if isinstance(actor, int | UUID) and not isinstance(actor, bool):
        actor = str(actor)
    if isinstance(actor, str) and (size := len(actor.encode(errors="replace"))) > MAX_ACTOR_BYTES:
        raise AuditContextError(
            f"actor takes {size} bytes, {MAX_ACTOR_BYTES} are allowed; "
            "name it by an id, and put the rest into metadata"
        )
    given = {"actor": actor, "actor_type": actor_type, "actor_label": actor_label}
    return {name: _text(name, value) for name, value in given.items() if value is not None}


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise AuditContextError(f"{name} must be text, got {value!r}; pass a str")
    if not value.strip():
        raise AuditContextError(f"{name} must not be empty, got {value!r}; leave it out instead")
    return value


def _encode(document: dict[str, Any]) -> str | None:
    """Encode as JSON that jsonb accepts in a database of any encoding that has the characters."""
    if not document:
        return None
    try:
        text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise AuditContextError(
            f"metadata is not JSON: {_culprit(document)} ({error}); pass text, numbers, "
            "booleans, None, lists and dicts of these, e.g. str(value)"
        ) from error
    if len(text) > MAX_BYTES:
        raise AuditContextError(
            f"the context takes {len(text)} bytes as JSON, {MAX_BYTES} are allowed; "
            "record a reference instead of the whole value"
        )
    if _UNSTORABLE.search(text):
        _refuse_unstorable(document)
    return text


# A NUL or half of a surrogate pair, as json writes them (or a backslash that looks like it).
_UNSTORABLE: Final = re.compile(r"\\u(0000|d[89a-f])")


def _refuse_unstorable(value: object) -> None:
    """Raise for the text within *value* that jsonb has no form for."""
    if isinstance(value, dict):
        for pair in value.items():
            _refuse_unstorable(pair)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_unstorable(item)
    elif isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
        raise AuditContextError(
            f"the context holds text that jsonb can't store: {value!r}; "
            "remove the NUL character or lone surrogate"
        )


def _culprit(document: dict[str, Any]) -> str:
    """Name the value that json refused, cut to a readable length."""
    for name, value in document.get("metadata", {}).items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            shown = "a nested value" if isinstance(value, dict | list | tuple) else repr(value)
            return f"{name}={shown:.200}"
    return "its keys"
