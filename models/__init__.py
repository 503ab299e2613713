"""Online anomaly models: one algorithm per file and one line in the table.

Nothing is imported before it is used: the table is read by programs that never run a model.
"""

from __future__ import annotations

TABLE = {
    "ewma_horizons": "models.ewma_horizons:EwmaHorizons",
    "ewma_z": "models.ewma_z:EwmaZ",
    "level_shift": "models.level_shift:LevelShift",
    "rate_of_change": "models.rate_of_change:RateOfChange",
    "robust_band": "models.robust_band:RobustBand",
    "running_range": "models.running_range:RunningRange",
    "seasonal": "models.seasonal:Seasonal",
    "short_long": "models.short_long:ShortLong",
    "stuck": "models.stuck:Stuck",
    "time_of_day": "models.time_of_day:TimeOfDay",
}

RIVER = "river:"
"""How the names of river's models begin, which are in no table; see `models.river_plugin`."""
