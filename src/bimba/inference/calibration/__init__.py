"""How long a question takes: thin models of the same widths are timed, and counted as often as must be.

Both kinds of models stand side by side: `thin_bimba` and `of_bimba`, `thin_vamba` and `of_vamba`.
"""

from bimba.inference.calibration.estimate import calibrate
from bimba.inference.calibration.time_plan import TimePlan

__all__ = ["TimePlan", "calibrate"]
