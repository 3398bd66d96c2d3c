"""Install, restore and freeze the replaceable SQL objects: functions, trigger functions and views.

A replaceable object is edited in `sql/`. A revision never runs `sql/`: it runs its own byte copy
under `migrations/frozen/REVISION/`, so what a revision does stays the same for ever.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path

from alembic import op
from alembic.runtime.migration import MigrationContext

PACKAGE = Path(__file__).parent
# In a wheel both folders lie inside the package, in a checkout beside it.
ROOT = PACKAGE if (PACKAGE / "migrations").is_dir() else PACKAGE.parent
MIGRATIONS = ROOT / "migrations"
FROZEN = MIGRATIONS / "frozen"
SUMS = FROZEN / "SHA256SUMS"
SQL = ROOT / "sql"


def replace(revision: str, *names: str) -> None:
    """Run the copies frozen for *revision*, in the order given."""
    for name in names:
        run_verbatim((FROZEN / revision / name).read_text(encoding="utf-8"))


def restore(revision: str, *names: str) -> None:
    """Run the copies that were in force before *revision*; for `downgrade`.

    Raises LookupError for an object that *revision* introduced: its downgrade drops it instead.
    """
    for name in names:
        older = [each for each in frozen_revisions(name) if each < revision]
        if not older:
            raise LookupError(f"{name} has no copy before {revision}: drop it in downgrade()")
        replace(older[-1], name)


def run_verbatim(sql: str, context: MigrationContext | None = None) -> None:
    """Send *sql* unchanged, online or with `--sql`: no bind names, no % formatting.

    Without *context* it is the one of the revision that runs.
    """
    context = context or op.get_context()
    if context.as_sql:
        context.impl.static_output(sql)
    else:
        assert context.connection is not None  # online
        context.connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def frozen_revisions(name: str) -> list[str]:
    """Revisions that hold a copy of *name*, oldest first (ids are zero-padded numbers)."""
    return sorted(folder.name for folder in FROZEN.glob("*/") if (folder / name).is_file())


def changed() -> list[str]:
    """Names below `sql/` whose text differs from their newest frozen copy."""
    names = sorted(path.relative_to(SQL).as_posix() for path in SQL.rglob("*.sql"))
    return [name for name in names if _newest(name) != (SQL / name).read_bytes()]


def _newest(name: str) -> bytes | None:
    revisions = frozen_revisions(name)
    return (FROZEN / revisions[-1] / name).read_bytes() if revisions else None


def freeze(script: Path) -> list[str]:
    """Copy what changed beside the new revision *script* and list it there; returns the names.

    Alembic calls this after it wrote the file (`[post_write_hooks]` in alembic.ini).
    """
    text = script.read_text(encoding="utf-8")
    found = re.search(r"^revision = ['\"](.+)['\"]$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{script} has no line that starts with 'revision = '")
    names = changed()
    for name in names:
        copy = FROZEN / found[1] / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SQL / name, copy)
    listed = "".join(f'    "{name}",\n' for name in names)
    text = text.replace(" = ()\n", f" = (\n{listed})\n" if names else " = ()\n", 1)
    script.write_text(text, encoding="utf-8")
    return names


def digests() -> dict[str, str]:
    """SHA-256 of each frozen copy by path; SHA256SUMS holds those that are closed."""
    return {
        path.relative_to(FROZEN).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(FROZEN.rglob("*.sql"))
    }


def write_sums() -> None:
    """Write SHA256SUMS in the form that `sha256sum --check` reads."""
    lines = [f"{digest}  {name}\n" for name, digest in digests().items()]
    SUMS.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    for frozen in freeze(Path(sys.argv[1])):
        print(f"frozen: {frozen}")
    write_sums()
