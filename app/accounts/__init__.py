"""Who may ask. For now workspaces, keys and sign-in links; people with passwords and members will stand beside them."""

from app.accounts.api import OPERATIONS
from app.accounts.page import PAGES
from app.feature import Feature

FEATURE = Feature(name="accounts", operations=(*OPERATIONS, *PAGES))
