"""The container files name only what exists, and the tests run what the container runs."""

from __future__ import annotations

import re

import pytest

from servers import DOCKER, INIT_SCRIPTS

DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
CONFIGURATION = (DOCKER / "postgresql.conf").read_text(encoding="utf-8")


@pytest.mark.parametrize(("source", "target"), re.findall(r"^COPY (\S+) (\S+)$", DOCKERFILE, re.M))
def test_copied_files_exist(source: str, target: str) -> None:
    assert (DOCKER / source).exists()
    assert source.endswith("/") == target.endswith("/")


def test_server_starts_with_the_copied_configuration() -> None:
    target = re.search(r"^COPY postgresql\.conf (\S+)$", DOCKERFILE, re.M)
    assert target is not None
    assert f"config_file={target[1]}" in DOCKERFILE


def test_init_scripts_are_sql_in_a_fixed_order() -> None:
    names = [path.name for path in INIT_SCRIPTS.iterdir()]
    assert names
    assert all(re.fullmatch(r"\d\d_\w+\.sql", name) for name in names)


def test_preloaded_extensions_are_installed() -> None:
    preloaded = re.search(r"^shared_preload_libraries = '(.*)'", CONFIGURATION, re.M)
    assert preloaded is not None
    created = "".join(path.read_text(encoding="utf-8") for path in INIT_SCRIPTS.iterdir())
    for library in preloaded[1].split(","):
        assert f"CREATE EXTENSION IF NOT EXISTS {library};" in created


def test_port_is_open_to_this_machine_only() -> None:
    assert re.findall(r'^ +- "(.*:.*:.*)"$', COMPOSE, re.M) == ["127.0.0.1:5432:5432"]
