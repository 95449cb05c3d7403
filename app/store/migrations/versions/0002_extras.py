"""Each execution at fal beyond an attempt's own is noted once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_extras"
down_revision = "0001_the_line"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "extras",
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("attempt", "request_id", name=op.f("pk_extras")),
    )


def downgrade() -> None:
    op.drop_table("extras")
