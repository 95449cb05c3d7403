"""What an installation has settled on for good: which storage is its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_settled"
down_revision = "0002_extras"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "settled",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settled")),
    )


def downgrade() -> None:
    op.drop_table("settled")
