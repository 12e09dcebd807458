"""Alembic's entry: runs the steps on the connection that `control_plane.store.open` hands in."""

from alembic import context

from control_plane.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
