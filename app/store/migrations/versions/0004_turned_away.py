"""A job knows how many of its attempts fal never took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

_COUNTED = (
    "UPDATE jobs SET turned_away = (SELECT count(*) FROM attempts WHERE job = jobs.id AND status = 'not_accepted')"
)

revision = "0004_turned_away"
down_revision = "0003_settled"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("turned_away", sa.Integer(), nullable=False, server_default="0"))
    op.execute(_COUNTED)


def downgrade() -> None:
    op.drop_column("jobs", "turned_away")
