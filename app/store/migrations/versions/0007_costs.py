"""What fal bills can be summed without reading the whole ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_costs"
down_revision = "0006_paused_at"
branch_labels = None
depends_on = None


def upgrade() -> None:
    costs = sa.text("account = 'costs'")
    op.create_index("ix_entries_costs", "entries", ["account", "amount"], postgresql_where=costs, sqlite_where=costs)


def downgrade() -> None:
    op.drop_index("ix_entries_costs", "entries")
