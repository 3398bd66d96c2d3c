"""Other ways to audit the same tables, each set up as its own documentation says."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy

MODULES: Final = {
    "auditrum": "auditrum",
    "django-pghistory": "pghistory",
    "postgresql-audit": "postgresql_audit",
    "sqlalchemy-audit-trail": "audit_trail",
    "SQLAlchemy-Continuum": "sqlalchemy_continuum",
}
"""The peers of PyPI (requirements/bench.in) and the module that each installs."""
LIBRARIES: Final = ("table_log", "wal2json")
"""The peers of Debian (.ci/make-server), as their libraries are called."""


def installed(package: str) -> bool:
    """Tell whether a package of MODULES is in this environment."""
    return find_spec(MODULES[package]) is not None


def missing(bindir: Path) -> list[str]:
    """Return the peers that this environment or the server of *bindir* has not got."""
    folder = bindir.parent / "lib"
    packages = [package for package in MODULES if not installed(package)]
    return packages + [name for name in LIBRARIES if not (folder / f"{name}.so").exists()]


def engine_for(connection: psycopg.Connection[Any]) -> sqlalchemy.Engine:
    """Return an engine on the database and as the user of *connection*."""
    parameters: dict[str, Any] = connection.info.get_parameters()
    parameters["password"] = connection.info.password
    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(**parameters),
        poolclass=sqlalchemy.NullPool,
    )
