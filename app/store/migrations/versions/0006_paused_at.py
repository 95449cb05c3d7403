"""A run knows when it was paused; one that is paused now is given the time its event tells."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

_TOLD = (
    "UPDATE runs SET paused_at = coalesce("
    "(SELECT max(time) FROM events WHERE workspace = runs.workspace AND run = runs.id AND type = 'run.paused'), "
    "updated_at) WHERE status = 'paused'"
)

revision = "0006_paused_at"
down_revision = "0005_waiting"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(_TOLD)


def downgrade() -> None:
    op.drop_column("runs", "paused_at")
