"""Alembic's entry: runs the migrations on the connection that `app.db.migrate` hands over."""

from alembic import context

from app.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transaction_per_migration=True,  # the locks of one end before the next begins
)
with context.begin_transaction():
    context.run_migrations()
