"""What a context holds, for whom it is visible, and what it refuses."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import pytest

import audit_schema
from audit_schema import AuditContextError
from audit_schema.context import MAX_BYTES, encoded


def active() -> dict[str, Any] | None:
    text = encoded()
    return None if text is None else json.loads(text)


def test_absent_keys_are_omitted() -> None:
    assert active() is None
    with audit_schema.context("7", actor_label="Ann", request="r1"):
        assert active() == {"actor": "7", "actor_label": "Ann", "metadata": {"request": "r1"}}
    with audit_schema.context("7"):
        assert encoded() == '{"actor":"7"}'
    assert active() is None


def test_context_without_values_sends_nothing() -> None:
    with audit_schema.context():
        assert encoded() is None


def test_text_is_ascii_json() -> None:
    with audit_schema.context("Zoë", note='a"b\\c\n😀'):
        text = encoded()
        assert text is not None
        assert text.isascii()
        assert json.loads(text) == {"actor": "Zoë", "metadata": {"note": 'a"b\\c\n😀'}}


def test_inner_context_inherits_and_overrides() -> None:
    with audit_schema.context("7", actor_type="user", request="r1", step=1):
        with audit_schema.context(step=2, ticket="T"):
            assert active() == {
                "actor": "7",
                "actor_type": "user",
                "metadata": {"request": "r1", "step": 2, "ticket": "T"},
            }
        assert active() == {
            "actor": "7",
            "actor_type": "user",
            "metadata": {"request": "r1", "step": 1},
        }


def test_another_actor_does_not_inherit_type_and_label() -> None:
    with (
        audit_schema.context("7", actor_type="user", actor_label="Ann"),
        audit_schema.context("nightly"),
    ):
        assert active() == {"actor": "nightly"}


def test_leaves_on_error() -> None:
    with pytest.raises(ZeroDivisionError), audit_schema.context("7"):
        raise ZeroDivisionError
    assert active() is None


def test_one_object_can_be_entered_again() -> None:
    same = audit_schema.context("7", step=1)
    with same, same:
        assert active() == {"actor": "7", "metadata": {"step": 1}}
    with same:
        assert active() is not None
    assert active() is None


def test_interleaved_generators_leave_nothing_behind() -> None:
    def numbers() -> Iterator[int]:
        with audit_schema.context("generator"):
            yield 1

    with audit_schema.context("7"):
        running = numbers()
        next(running)
    assert active() == {"actor": "generator"}
    del running
    assert active() is None


def test_left_by_another_thread_than_entered() -> None:
    entered = audit_schema.context("7")
    copied = contextvars.copy_context()
    copied.run(entered.__enter__)
    entered.__exit__()
    assert active() is None
    assert copied.run(active) == {"actor": "7"}


def test_decorator_of_a_function() -> None:
    @audit_schema.context("job", kind="nightly")
    def work(number: int, *, then: str) -> tuple[int, str, Any]:
        """Do it."""
        return number, then, active()

    expected = {"actor": "job", "metadata": {"kind": "nightly"}}
    assert work(1, then="x") == (1, "x", expected)
    assert work.__doc__ == "Do it."
    assert active() is None


def test_decorator_makes_a_fresh_context_per_call() -> None:
    @audit_schema.context()
    def work(actor: str) -> Any:
        before = active()
        audit_schema.set_actor(actor)
        return before, active()

    assert work("a") == (None, {"actor": "a"})
    assert work("b") == (None, {"actor": "b"})


def test_decorator_of_a_coroutine() -> None:
    @audit_schema.context("job")
    async def work() -> Any:
        await asyncio.sleep(0)
        return active()

    assert asyncio.run(work()) == {"actor": "job"}


def test_decorator_refuses_generators() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(AuditContextError, match="can't decorate the generator"):
            audit_schema.context("job")(function)


def test_async_with() -> None:
    async def work() -> Any:
        async with audit_schema.context("7"):
            return active()

    assert asyncio.run(work()) == {"actor": "7"}


def test_another_thread_sees_nothing() -> None:
    seen: list[Any] = []
    with audit_schema.context("7"):
        thread = threading.Thread(target=lambda: seen.append(active()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_tasks_keep_their_own() -> None:
    async def work(actor: str) -> list[Any]:
        seen = []
        with audit_schema.context(actor):
            for _ in range(3):
                await asyncio.sleep(0)
                seen.append(active())
        return seen

    async def together() -> list[list[Any]]:
        return await asyncio.gather(*(work(str(number)) for number in range(20)))

    for number, seen in enumerate(asyncio.run(together())):
        assert seen == [{"actor": str(number)}] * 3


def test_task_keeps_the_context_it_was_started_in() -> None:
    async def background() -> Any:
        await asyncio.sleep(0.01)
        with audit_schema.context(step=2):
            inner = active()
        return inner, active()

    async def request() -> Any:
        with audit_schema.context("7"):
            task = asyncio.create_task(background())
        return await task

    assert asyncio.run(request()) == ({"actor": "7", "metadata": {"step": 2}}, {"actor": "7"})


def test_set_actor_in_a_worker_thread_is_seen_by_the_request() -> None:
    async def endpoint() -> Any:
        with audit_schema.context(request="r1"):
            await asyncio.to_thread(audit_schema.set_actor, 42, actor_type="user")
            return active()

    assert asyncio.run(endpoint()) == {
        "actor": "42",
        "actor_type": "user",
        "metadata": {"request": "r1"},
    }


def test_set_actor_in_an_inner_context_ends_with_it() -> None:
    with audit_schema.context("7", actor_label="Ann"):
        with audit_schema.context():
            audit_schema.set_actor("8")
            assert active() == {"actor": "8"}
        assert active() == {"actor": "7", "actor_label": "Ann"}


def test_set_actor_outside() -> None:
    with pytest.raises(AuditContextError, match="no audit context is active here"):
        audit_schema.set_actor("7")


def test_refused_set_actor_changes_nothing() -> None:
    with audit_schema.context("7"):
        with pytest.raises(AuditContextError):
            audit_schema.set_actor("a\0b")
        with pytest.raises(AuditContextError, match="needs an actor"):
            audit_schema.set_actor(None)  # type: ignore[arg-type]
        assert active() == {"actor": "7"}


@pytest.mark.parametrize(
    ("actor", "text"),
    [(42, "42"), (UUID(int=1), "00000000-0000-0000-0000-000000000001"), ("x", "x")],
)
def test_actors(actor: str | int | UUID, text: str) -> None:
    with audit_schema.context(actor):
        assert active() == {"actor": text}


def test_metadata_keys_are_free() -> None:
    metadata: dict[str, Any] = {"self": 1, "x-request-id": 2, "": 3, "ключ": None, "metadata": [{}]}
    with audit_schema.context(None, **metadata):
        assert active() == {"metadata": metadata}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"actor": ""}, "actor must not be empty, got ''"),
        ({"actor": "  "}, "actor must not be empty"),
        ({"actor": 1.5}, "actor must be text, got 1.5"),
        ({"actor": True}, "actor must be text, got True"),
        ({"actor": b"7"}, "actor must be text, got b'7'"),
        ({"actor": "7", "actor_type": 1}, "actor_type must be text, got 1"),
        ({"actor": "7", "actor_label": ""}, "actor_label must not be empty"),
        ({"actor": "é" * 1251}, "actor takes 2502 bytes, 2500 are allowed"),
        ({"actor": "a\0b"}, r"jsonb can't store: 'a\\x00b'; remove the NUL"),
        ({"note": ["a\0b"]}, "remove the NUL"),
        ({"note": {"a\0b": 1}}, "remove the NUL"),
        ({"note": "\udcff"}, "lone surrogate"),
        ({"note": float("nan")}, "note=nan"),
        ({"note": [float("inf")]}, "metadata is not JSON: note=a nested value"),
        ({"ok": 1, "id": UUID(int=1)}, r"id=UUID\(.*pass text, numbers"),
        ({"note": {1, 2}}, r"note=\{1, 2\}"),
        ({"note": {(1, 2): 3}}, "note=a nested value"),
        ({"note": b"x"}, "note=b'x'"),
        ({"note": "x" * MAX_BYTES}, f"65560 bytes as JSON, {MAX_BYTES} are allowed"),
    ],
)
def test_what_can_not_be_recorded_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(AuditContextError, match=message), audit_schema.context(**arguments):
        pass  # pragma: no cover
    assert active() is None


def test_deep_and_circular_metadata_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    circular: dict[str, Any] = {}
    circular["self"] = circular
    for value in (deep, circular):
        with pytest.raises(AuditContextError, match="metadata is not JSON"):
            audit_schema.context(note=value).__enter__()
    while deep:  # frees it without recursion
        deep = deep.pop()


def test_what_only_looks_like_a_nul_is_kept() -> None:
    with audit_schema.context("7", note="\\u0000", other="\\ud800", face="😀"):
        assert active() == {
            "actor": "7",
            "metadata": {"note": "\\u0000", "other": "\\ud800", "face": "😀"},
        }


def test_largest_context() -> None:
    room = MAX_BYTES - len('{"metadata":{"note":""}}')
    with audit_schema.context(note="x" * room):
        assert len(encoded() or "") == MAX_BYTES
    with pytest.raises(AuditContextError, match="takes 65537 bytes"):
        audit_schema.context(note="x" * (room + 1)).__enter__()
