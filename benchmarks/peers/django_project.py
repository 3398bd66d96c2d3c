"""A Django project whose models are the workload's tables, tracked by django-pghistory.

Its database and tables come as JSON on standard input. The models are those of `inspectdb`, which
Django does not manage; the event tables and the triggers are made by `migrate`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

APP = "workload"
PACKAGES = ("pgtrigger", "pghistory")
TRACKING = """
import pghistory

for model in [value for value in list(globals().values()) if isinstance(value, type)]:
    if issubclass(model, models.Model) and not model._meta.abstract:
        pghistory.track(
            pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent()
        )(model)
"""


def configure(database: Mapping[str, str]) -> None:
    """Make this process a Django project on *database*."""
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **database}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        PGTRIGGER_INSTALL_ON_MIGRATE=True,  # triggers of unmanaged models are in no migration
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", *PACKAGES, APP],
    )


def write_app(parent: Path, tables: Sequence[str]) -> None:
    """Write the app with one tracked model for each table."""
    from django.core.management.commands.inspectdb import Command

    options = {
        "database": "default",
        "table": list(tables),
        "include_partitions": False,
        "include_views": False,
        "table_name_filter": None,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Accessing the database during app init")
        models = "\n".join(Command().handle_inspection(options))
    (parent / APP).mkdir()
    (parent / APP / "__init__.py").touch()
    (parent / APP / "models.py").write_text(models + TRACKING)


def main() -> None:
    """Write the app, then make its event tables and triggers and what the packages need."""
    import django
    from django.core.management import call_command

    order = json.load(sys.stdin)
    configure(order["database"])
    with tempfile.TemporaryDirectory() as folder:
        write_app(Path(folder), order["tables"])
        sys.path.insert(0, folder)
        django.setup()
        call_command("migrate", run_syncdb=True, verbosity=0)


if __name__ == "__main__":
    main()
