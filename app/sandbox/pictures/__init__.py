"""The pictures: drawn, edited, and recognised again. Knows nothing of fal or HTTP."""
