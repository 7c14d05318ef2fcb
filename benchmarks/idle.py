"""How much memory a connection costs that has carried some octets and is idle.

Usage: python -m benchmarks.idle --peer goptlib=/path/to/dummy-client [--peer NAME=COMMAND]
"""

from __future__ import annotations

from benchmarks.peers import Contender, Figure, compare, measured, parser


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--connections", type=int, default=2000)
    options.add_argument("--size", type=int, default=16384, help="how many octets it has carried")
    options.set_defaults(rounds=3)
    chosen = options.parse_args()

    def measure(contender: Contender) -> dict[str, float]:
        words = ("--connections", chosen.connections, "--size", chosen.size)
        return measured("idle", contender, chosen, *words)

    title = f"Memory, idle connections: {chosen.connections}"
    figures = [Figure("kilobytes", "kB per connection")]
    compare(title, figures, measure, chosen, floor=None)


if __name__ == "__main__":
    main()
