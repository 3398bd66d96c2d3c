"""The documentation says what is there: SQL reference, links, revisions in the change log."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from audit_schema.replaceable import MIGRATIONS
from servers import ROOT, Database

CAPTURED = ROOT / "docs" / "captured.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/sql_reference.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("sql_reference", ROOT / "docs/sql_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sql_reference_is_what_the_database_says(
    generator: ModuleType, shared_database: Database
) -> None:
    with shared_database.connect() as connection:
        rendered = generator.render(connection)
    assert rendered == (ROOT / "docs/sql-reference.md").read_text(), "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert heading in anchors, f"{page.name} links to {target}#{heading}"


def test_each_fact_of_what_is_captured_names_a_test_that_exists() -> None:
    tables = [line for line in CAPTURED.read_text().splitlines() if line.startswith("| ")]
    facts = [line for line in tables if not line.startswith(("| subject |", "| value |"))]
    assert facts
    for fact in facts:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", fact)
        assert named, f"no test is named: {fact}"
        for path, test in named:
            text = (ROOT / "tests" / path).read_text()
            assert re.search(rf"^def {test}\(", text, re.MULTILINE), f"no {path}::{test}"


def test_change_log_names_every_revision() -> None:
    revisions = {path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}
    named = set(re.findall(r"\b\d{4}\b", (ROOT / "CHANGELOG.md").read_text()))
    assert revisions <= named
