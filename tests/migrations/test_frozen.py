"""The frozen copies agree with sql/ and never change once listed. Needs no server."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from audit_schema import replaceable

REVISIONS = sorted((replaceable.MIGRATIONS / "versions").glob("[0-9]*.py"))


def test_sql_equals_the_newest_frozen_copies() -> None:
    assert replaceable.changed() == [], "edit sql/, then: alembic revision --rev-id NNNN -m …"


def test_frozen_copies_are_those_of_their_checksums() -> None:
    lines = replaceable.SUMS.read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert listed == replaceable.digests()


@pytest.mark.parametrize("script", REVISIONS, ids=lambda path: path.stem)
def test_a_revision_runs_exactly_what_was_frozen_for_it(script: Path) -> None:
    listed = re.findall(r'^    "([a-z]+/\w+\.sql)",$', script.read_text(), re.MULTILINE)
    folder = replaceable.FROZEN / script.name[:4]
    assert sorted(listed) == sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.sql"))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A copy of the checkout whose migrations may be changed."""
    for name in ("migrations", "sql", "audit_schema"):
        shutil.copytree(replaceable.ROOT / name, tmp_path / name)
    shutil.copy(replaceable.ROOT / "alembic.ini", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Config(tmp_path / "alembic.ini")


def test_alembic_revision_freezes_what_changed(checkout: Config, tmp_path: Path) -> None:
    edited = tmp_path / "sql" / "functions" / "detach.sql"
    edited.write_text(edited.read_text().replace("what was recorded stays", "its history stays"))

    command.revision(checkout, "reword detach", rev_id="9001")

    copies = list((tmp_path / "migrations" / "frozen" / "9001").rglob("*.sql"))
    assert [copy.name for copy in copies] == ["detach.sql"]
    assert copies[0].read_bytes() == edited.read_bytes()
    script = (tmp_path / "migrations" / "versions" / "9001_reword_detach.py").read_text()
    assert 'SQL: tuple[str, ...] = (\n    "functions/detach.sql",\n)\n' in script
    assert "9001/functions/detach.sql" in (tmp_path / "migrations/frozen/SHA256SUMS").read_text()


def test_alembic_revision_freezes_nothing_when_nothing_changed(
    checkout: Config, tmp_path: Path
) -> None:
    command.revision(checkout, "add column", rev_id="9001")

    assert not (tmp_path / "migrations" / "frozen" / "9001").exists()
    script = (tmp_path / "migrations" / "versions" / "9001_add_column.py").read_text()
    assert "SQL: tuple[str, ...] = ()\n" in script


def test_restore_refuses_an_object_that_the_revision_introduced() -> None:
    with pytest.raises(LookupError, match=r"attach\.sql has no copy before 0002: drop it"):
        replaceable.restore("0002", "functions/attach.sql")
