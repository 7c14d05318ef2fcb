"""How many octets per second go through a transport that does not change them.

Usage: python -m benchmarks.relay --peer goptlib=/path/to/dummy-client
           [--peer identity='python benchmarks/dummy.py --mapped'] [--peer NAME=COMMAND]

Six tables: one and four connections, up, down, and both at once.
"""

from __future__ import annotations

from benchmarks.peers import CPU, LOAD, Contender, Figure, compare, measured, parser


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--connections", type=int, nargs="*", default=[1, 4])
    options.add_argument("--direction", nargs="*", default=["up", "down", "duplex"])
    options.add_argument("--megabytes", type=int, default=1000, help="in each direction")
    chosen = options.parse_args()
    for connections in chosen.connections:
        for direction in chosen.direction:

            def measure(
                contender: Contender, connections: int = connections, direction: str = direction
            ) -> dict[str, float]:
                words = ("--connections", connections, "--direction", direction)
                return measured("relay", contender, chosen, *words, "--megabytes", chosen.megabytes)

            title = f"Relay, {direction}, connections: {connections}"
            compare(title, [Figure("rate", "MB/s"), CPU, LOAD], measure, chosen)


if __name__ == "__main__":
    main()
