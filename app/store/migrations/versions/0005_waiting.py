"""A job knows what it waits for while its pictures are stored, and since when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_waiting"
down_revision = "0004_turned_away"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kind = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
    op.add_column("jobs", sa.Column("waiting", kind, nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "waiting")
