"""A simulated plant: what its sensors say, which faults befall them, and the truth about both.

Everything here is pure: time is passed in, randomness comes from a seed. Only the publisher, which
puts the readings on a broker, knows a clock and a network.
"""

from ingest.simulator.faults import Fault, FaultSchedule, write_truth_csv
from ingest.simulator.layout import Sensor
from ingest.simulator.payloads import encode_json
from ingest.simulator.plant import Burst, Plant

__all__ = ["Burst", "Fault", "FaultSchedule", "Plant", "Sensor", "encode_json", "write_truth_csv"]
