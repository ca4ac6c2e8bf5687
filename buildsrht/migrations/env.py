"""Alembic's hook: run the steps on the connection that the caller opened, each in a transaction of
its own, so that one which does not get a lock undoes no other."""

from typing import Any

from alembic import context

from buildsrht.migrations import compatibility


def say_compatibility(*, ctx: Any, step: Any, **_: Any) -> None:
    compatibility.note(ctx.connection, step.up_revision)


context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    # It is called with names, which its type does not tell.
    on_version_apply=say_compatibility,  # type: ignore[arg-type]
)
with context.begin_transaction():
    context.run_migrations()
