"""Run the test broker in the foreground: python -m tests.servers.kafka --port 9092"""

import argparse
import signal
import sys
from pathlib import Path
from threading import Event

from tests.servers.binaries import ServerMissingError
from tests.servers.kafka.cluster import KafkaCluster
from tests.servers.kafka.libraries import kafka_version
from tests.servers.ports import port_is_free
from tests.servers.processes import ServerFailedError

_LIVENESS_INTERVAL_S = 1.0


def main() -> int:
    """Start the cluster, print where it is, wait for Ctrl-C or SIGTERM. Exit status 1 if it fails."""
    options = _parse()
    ports = list(range(options.port, options.port + options.nodes))
    taken = [port for port in ports if not port_is_free(port)]
    if taken:
        return _complain(f"port {taken[0]} is taken; choose another with --port")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with KafkaCluster(options.nodes, ports=ports, directory=options.data, say=_say) as cluster:
            kept = f"data in {cluster.directory}" + ("" if options.data else ", removed at the end")
            _say(f"Kafka {kafka_version()} is ready at {cluster.bootstrap} ({kept}). Ctrl-C stops it.")
            while all(cluster.alive):
                Event().wait(_LIVENESS_INTERVAL_S)
            return _complain(f"node {cluster.alive.index(False)} ended by itself")
    except KeyboardInterrupt:
        _say("Stopped.")
        return 0
    except (ServerMissingError, ServerFailedError, TimeoutError) as problem:
        return _complain(str(problem))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers.kafka",
        description=f"Run Apache Kafka {kafka_version()} on 127.0.0.1 until Ctrl-C. Needs Java 17; the first "
        "use needs Maven (mvn) too and downloads 43 MB into ${MILLSTREAM_CACHE:-~/.cache/millstream}.",
        epilog="example: python -m tests.servers.kafka --port 9092 --nodes 3 --data ./kafka-data",
    )
    parser.add_argument("--port", type=int, default=9092, help="port of the first node (default 9092)")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="on successive ports (default 1)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the data here (default: temporary)")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, flush=True)


def _complain(problem: str) -> int:
    print(f"kafka: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
