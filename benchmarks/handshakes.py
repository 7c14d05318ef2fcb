"""How many SOCKS5 handshakes with args, dial and answer included, a transport does per second.

Usage: python -m benchmarks.handshakes --peer goptlib=/path/to/dummy-client [--peer NAME=COMMAND]

``CPU`` does not depend on how fast the load is, which is in Python and on a core of its own.
"""

from __future__ import annotations

from benchmarks.peers import CPU, LOAD, Contender, Figure, compare, measured, parser


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--connections", type=int, default=16, help="how many at once")
    options.add_argument("--seconds", type=float, default=1.0, help="how long to measure")
    chosen = options.parse_args()

    def measure(contender: Contender) -> dict[str, float]:
        words = ("--connections", chosen.connections, "--seconds", chosen.seconds)
        return measured("handshakes", contender, chosen, *words)

    title = f"SOCKS5 handshakes, {chosen.connections} at once"
    compare(title, [Figure("rate", "handshakes/s"), CPU, LOAD], measure, chosen)


if __name__ == "__main__":
    main()
