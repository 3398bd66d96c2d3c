"""Each part of the benchmark measures something, and its report can be written from the figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import servers
from audit_schema.errors import AuditSchemaError
from benchmarks.__main__ import app, available, measure, unfinished, write_report
from benchmarks.lab import Lab
from benchmarks.parts import profile
from servers import ROOT


@pytest.fixture(scope="module")
def lab() -> Lab:
    """Everything tiny on the newest server, without peers: no figure here says how fast it is."""
    found = servers.installed()
    if not found:
        pytest.skip("no server of `make servers`")
    return Lab(servers.bindir_of(found[-1]), rounds=1, smoke=True, console=Console(quiet=True))


@pytest.mark.slow
@pytest.mark.parametrize("part", available())
def test_part_measures_and_reports(part: str, lab: Lab, tmp_path: Path) -> None:
    if part == "profile" and shutil.which("valgrind") is None:
        pytest.skip("no valgrind to count instructions with")
    measure(part, lab, tmp_path / "results")
    document = json.loads((tmp_path / "results" / f"{part}.json").read_text())
    assert document["smoke"]
    assert document["server"]["version"]
    assert all(value >= 0 for value in medians(document["result"]))
    CHECKS.get(part, lambda _: None)(document["result"])
    page = write_report(tmp_path / "results", tmp_path)
    assert f"## {document['title']}" in page.read_text()
    before = contents(tmp_path)
    write_report(tmp_path / "results", tmp_path)
    assert contents(tmp_path) == before


def test_the_page_is_what_the_results_say(tmp_path: Path) -> None:
    results, page = ROOT / "benchmarks/results", ROOT / "docs/performance.md"
    if not page.exists():
        pytest.skip("nothing has been measured yet")
    written = write_report(results, tmp_path)
    assert written.read_text() == page.read_text(), "run: make bench ARGS=--report"


def test_smoke_figures_are_not_kept_in_the_checkout() -> None:
    result = CliRunner().invoke(app, ["--smoke"])
    assert isinstance(result.exception, AuditSchemaError)
    assert "name a folder with --output" in str(result.exception)


def test_resumed_run_leaves_out_what_was_finished(tmp_path: Path) -> None:
    for name, age in (("capture", 1), ("tpcb", 30)):
        measured_at = (datetime.now(UTC) - timedelta(hours=age)).isoformat()
        (tmp_path / f"{name}.json").write_text(json.dumps({"measured_at": measured_at}))
    assert unfinished(["capture", "tpcb", "orm"], tmp_path) == ["tpcb", "orm"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no memory to offer as a folder")
def test_data_in_memory_are_refused() -> None:
    lab = Lab(Path("/nowhere"), data=Path("/dev/shm"))
    with pytest.raises(AuditSchemaError, match="/dev/shm is in memory"), lab.server():
        pass


def check_capture(result: dict[str, Any]) -> None:
    stored = result["stored"]
    for name in ("audit_schema", "audit_schema-row", "by-hand"):
        for action, figures in stored[name].items():
            assert figures["cpu_us"]["ratio"] > 1, (name, action)
            assert figures["wal_bytes"]["added"] > 100, (name, action)
        # a few events may fit into a page that is there
        assert sum(figures["heap_bytes"]["median"] for figures in stored[name].values()) > 0, name
    assert all(figures["heap_bytes"]["median"] == 0 for figures in stored["bare"].values())


def check_tpcb(result: dict[str, Any]) -> None:
    for runs in result["figures"].values():
        for run in runs.values():
            assert run["tps"]["median"] > 1
            assert run["p50_ms"]["median"] <= run["p99_ms"]["median"]


def check_storage(result: dict[str, Any]) -> None:
    for action, cells in result["grown"].items():
        assert 50 < cells["heap: audit.event"] < 2000, action


def check_archive(result: dict[str, Any]) -> None:
    for run in result["runs"]:
        assert run["file"] < run["table"]
        assert all(step["megabytes"] < 300 for step in run["steps"].values())


def check_profiles(result: dict[str, Any]) -> None:
    sizes = [
        result["figures"][name]["bulk INSERT"]["index_bytes"]["added"]
        for name in ("lean", "standard", "search")
    ]
    assert sizes == sorted(sizes), sizes
    assert [step["statement"].split()[0] for step in result["closing"]["steps"]] == [
        *["CREATE"] * 4,
        "ANALYZE",
        "VACUUM",
    ]


def check_profile(result: dict[str, Any]) -> None:
    bare, ours = (result["statements"][name] for name in ("bare", "audit_schema"))
    assert all(ours[action] > bare[action] > 1_000 for action in bare)
    assert result["pieces"]
    assert all(count > 100 for count in result["pieces"].values()), result["pieces"]


def test_profile_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(AuditSchemaError, match="apt-get install valgrind"):
        profile.measure(Lab(Path("/nowhere")))


CHECKS = {
    "capture": check_capture,
    "tpcb": check_tpcb,
    "storage": check_storage,
    "profiles": check_profiles,
    "profile": check_profile,
    "archive": check_archive,
}


def medians(figures: Any) -> Iterator[float]:
    """Every median within the result of a part."""
    if isinstance(figures, dict):
        if "median" in figures:
            yield figures["median"]
        for value in figures.values():
            yield from medians(value)


def contents(folder: Path) -> dict[Path, bytes]:
    """The page and its plots."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".md", ".svg")}
