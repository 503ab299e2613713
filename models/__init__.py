"""Online anomaly models: one algorithm per file and one line in the table.

Nothing is imported before it is used: the table is read by programs that never run a model.
"""

from __future__ import annotations

TABLE = {
    "ewma_z": "models.ewma_z:EwmaZ",
    "running_range": "models.running_range:RunningRange",
}
