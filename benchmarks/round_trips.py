"""How long a message takes through a transport and back, and how many do so per second.

Usage: python -m benchmarks.round_trips --peer goptlib=/path/to/dummy-client [--peer NAME=COMMAND]

Two tables: 1 octet on one connection, and 1 KiB on each of 32.
"""

from __future__ import annotations

from benchmarks.peers import CPU, LOAD, Contender, Figure, compare, measured, parser


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=1.0, help="how long to measure")
    chosen = options.parse_args()
    for connections, size in ((1, 1), (32, 1024)):

        def measure(
            contender: Contender, connections: int = connections, size: int = size
        ) -> dict[str, float]:
            words = ("--connections", connections, "--size", size, "--seconds", chosen.seconds)
            return measured("round_trips", contender, chosen, *words)

        figures = [Figure("median_us", "median us"), Figure("rate", "trips/s"), CPU, LOAD]
        title = f"Round trips of {size} octets, connections: {connections}"
        compare(title, figures, measure, chosen)


if __name__ == "__main__":
    main()
