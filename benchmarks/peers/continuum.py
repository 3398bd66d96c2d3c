"""SQLAlchemy-Continuum: a version table per model, written by the ORM when it flushes."""

from __future__ import annotations

from functools import partial
from typing import Any

import sqlalchemy
from sqlalchemy import orm

from benchmarks.orm import TABLE, AccountColumns, Application, OrmVariant
from benchmarks.peers.session import ADDRESS, USER_ID

PACKAGE = "SQLAlchemy-Continuum"


def build(native: bool, engine: sqlalchemy.Engine) -> Application:
    """Return the application with a versioned model; *native*: written by the package's trigger."""
    from sqlalchemy_continuum import make_versioned
    from sqlalchemy_continuum.plugins import Plugin

    class Actor(Plugin):
        """Gives actor and address to the package's transaction row, as its Flask plugin does."""

        def transaction_args(self, uow: Any, session: Any) -> dict[str, Any]:
            return {"user_id": USER_ID, "remote_addr": ADDRESS}

    class Base(orm.DeclarativeBase):
        pass

    make_versioned(user_cls="User", plugins=[Actor()], options={"native_versioning": native})

    class User(Base):
        __tablename__ = "app_user"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

    class Account(AccountColumns, Base):
        __tablename__ = TABLE
        __versioned__: dict[str, Any] = {}  # noqa: RUF012

    orm.configure_mappers()
    with engine.begin() as connection:
        if native:
            connection.exec_driver_sql("CREATE EXTENSION hstore")
        Base.metadata.create_all(connection)
        connection.execute(sqlalchemy.insert(User), {"id": USER_ID})
    return Application(Account, orm.sessionmaker(engine), f"SELECT count(*) FROM {TABLE}_version")


ORM = OrmVariant(
    PACKAGE,
    PACKAGE,
    partial(build, False),
    (PACKAGE,),
    "metadata, old values, role, application, all that is done outside the ORM",
)
NATIVE = OrmVariant(
    f"{PACKAGE}-native",
    f"{PACKAGE}, native versioning",
    partial(build, True),
    (PACKAGE,),
    "metadata, old values, role, application, all that is done outside the ORM",
)
