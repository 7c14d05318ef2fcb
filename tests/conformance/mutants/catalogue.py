"""Every mutant of the transport, and the case that catches it."""

from __future__ import annotations

from attrs import frozen

from ptipc.conformance.peers import own_address

__all__ = ["MUTANTS", "Mutant"]


@frozen
class Mutant:
    """One broken rule."""

    name: str
    """What ``MUTANT`` is set to."""
    case: str
    """The case that it fails; NOT_STARTED: it is not judged at all, and that is said."""
    dialect: str = "1"
    required: tuple[str, ...] = ()
    """What its author claims that it is capable of."""

    @property
    def role(self) -> str:
        """As what it is judged."""
        return "server" if self.case.startswith("server.") else "client"


NOT_STARTED = ""

_CAUGHT = {
    # The beginning of the conversation.
    "version-missing": "client.start.version",
    "version-other": "client.start.version",
    "version-late": "client.start.order",
    "version-on-stderr": "client.start.version",
    "version-presumed": "client.version.missing",
    "version-error-text": "client.version.none.text",
    "version-error-silent": "client.version.none.line",
    "env-error-late": "client.config.error.first",
    "env-error-silent": "client.config.error.line",
    "env-error-text": "client.config.error.text",
    "env-error-goes-on": "client.config.error.exit",
    "both-roles": "client.config.both-roles-error",
    "name-any": "client.config.name",
    "unknown-error": "client.config.unknown.silent",
    "outbound-unchecked": "client.config.bad.outbound-v4-is-v6",
    # What is said about transports.
    "noise": "client.start.stdout",
    "line-crlf": "client.start.carriage-return",
    "done-missing": NOT_STARTED,
    "done-unfinished": NOT_STARTED,
    "done-buffered": NOT_STARTED,
    "done-twice": "client.start.once",
    "ends-when-ready": NOT_STARTED,
    "method-name": NOT_STARTED,
    "method-unasked": "client.start.asked",
    "method-twice": "client.start.twice",
    "method-port-0": "client.start.address",
    "method-host-name": "client.start.address",
    "method-socks5-upper": "client.start.protocol",
    "method-socks4": "client.start.socks5",
    "method-double-blank": "client.start.blanks",
    "method-more-words": "client.start.canonical",
    "listens-everywhere": "client.start.loopback",
    "port-closed": "client.start.listening",
    "log-octal": "client.log.portable",
    "log-severity": "client.log.severity",
    "log-other-edition": "client.start.log-format",
    "log-after-done": "client.log.once-done",
    "status-no-value": "client.start.status",
    "state-outside": "client.start.files",
    "state-open": "client.start.private",
    "state-not-made": "client.start.state-missing",
    # The upstream proxy.
    "proxy-done-missing": "client.proxy.socks5.answer",
    "proxy-done-without": "client.proxy.none",
    "proxy-done-late": "client.proxy.order",
    "proxy-bad-silent": "client.proxy.bad.scheme",
    "proxy-error-text": "client.proxy.error.text",
    "proxy-error-goes-on": "client.proxy.error.exit",
    "proxy-bypassed": "client.proxy.socks5.use",
    "proxy-falls-back": "client.proxy.socks5.refuse",
    "proxy-ignores-user": "client.proxy.socks5.user",
    "proxy-escapes-kept": "client.proxy.socks5.escapes",
    "proxy-looks-up-names": "client.proxy.socks5.names",
    "proxy-answer-whole": "client.proxy.socks5.slow",
    "proxy-early-lost": "client.proxy.http.early",
    # SOCKS.
    "any-first-octet": "socks5.responder.first-octet-tls",
    "method-none-first": "socks-args.responder.tor.one",
    "method-userpass-only": "socks5.responder.ipv4",
    "method-not-offered": "socks5.responder.methods-unacceptable",
    "pipelined-lost": "socks5.responder.pipelined",
    "args-nul-kept": "socks-args.responder.tor.one",
    "args-user-only": "socks-args.responder.split-in-escape",
    "args-unread": "socks-args.responder.bad.no-equals",
    "args-status-version": "socks-args.responder.bad.no-equals",
    "args-empty-refused": "socks-args.responder.empty-user",
    "args-no-escapes": "socks-args.responder.bad.dangling",
    "args-one-equals": "socks-args.responder.equals-in-value",
    "reply-short": "socks5.responder.ipv4",
    "reply-version": "socks5.responder.ipv4",
    "reply-bound-type": "socks5.responder.ipv4",
    "reply-bound-ipv6": "socks5.responder.ipv4",
    "refusal-silent": "socks5.responder.command-bind",
    "refusal-open": "client.socks.refused.close",
    "command-any": "socks5.responder.command-bind",
    "command-code": "socks5.responder.command-udp",
    "no-ipv6": "socks5.responder.ipv6",
    "no-names": "socks5.responder.name",
    "address-type-hangs": "socks5.responder.address-type-02",
    "address-type-code": "socks5.responder.address-type-05",
    "port-little-endian": "client.relay.at-all",
    "failure-code": "client.socks.refused.code",
    "failure-is-fatal": "client.socks.survives",
    "early-data-lost": "client.socks.early-data",
    "waits-for-client": "client.socks.first-word",
    "one-at-a-time": "client.socks.silent",
    "garbage-is-fatal": "client.socks.after-resets",
    "outbound-loopback": "client.socks.outbound-loopback",
    # Carrying.
    "relay-corrupts": "client.relay.large",
    "relay-cuts": "client.relay.large",
    "relay-eof-lost": "client.relay.client-closes",
    "relay-eof-ends-all": "client.relay.half-close",
    "relay-reset-lost": "client.relay.reset",
    "relay-idle": "client.relay.idle",
    "greeting": "client.relay.at-all",
    # The end.
    "stdin-ignored": "client.stop.stdin",
    "stdin-unasked": "client.stop.stdin.unset",
    "stdin-any-value": "client.stop.stdin.0",
    "stdin-data-ends": "client.stop.stdin.data",
    "stdin-waits-for-connections": "client.stop.stdin.connection",
    "term-ignored": "client.stop.term",
    "term-goodbye": "client.stop.term.quiet",
    "int-ignored": "client.stop.int",
    "orphan-stays": "client.stop.orphan",
    # A server.
    "bind-ignored": "server.bind.port",
    "bind-failure-fatal": "server.bind.busy",
    "bind-failure-silent": "server.bind.busy",
    "options-unread": "server.config.bad.options-dangling",
    "args-unescaped": "server.start.args.escaped",
    "args-empty": "server.start.args.some",
    "log-client-address": "server.relay.addresses-log",
    "address-on-disk": "server.relay.addresses",
    # The Extended ORPort.
    "extorport-unused": "server.extorport.relay",
    "extorport-falls-back": "server.extorport.fallback",
    "extorport-no-warning": "server.extorport.warning",
    "extorport-no-transport": "server.extorport.transport",
    "extorport-wrong-transport": "server.extorport.transport",
    "extorport-no-address": "server.extorport.address",
    "extorport-address-only": "server.extorport.address",
    "extorport-own-command": "server.extorport.commands",
    "extorport-does-not-wait": "server.extorport.waits",
    "extorport-deny-ignored": "server.extorport.deny.ignored",
    "extorport-body-left": "server.extorport.okay-body",
    "extorport-unknown-fatal": "server.extorport.unknown",
    "extorport-hash": "server.extorport.hash",
    "extorport-hash-unchecked": "server.extorport.wrong-hash",
    "extorport-status-unchecked": "server.extorport.wrong-status",
    "extorport-nonce": "server.extorport.nonce",
    "extorport-first-type": "server.extorport.types.several",
    "extorport-type-unoffered": "server.extorport.types.none",
    "cookie-unchecked": "server.extorport.cookie.header",
    "cookie-read-once": "server.extorport.cookie.new",
}

_CAUGHT_IN_2 = {
    "version-oldest": "client.version.newest",
    "exit-version-error": "client.version.none.exit-code",
    "exit-env-error": "client.config.error.exit-code",
    "exit-proxy-error": "client.proxy.error.exit-code",
    "errors-on-stdout": "client.config.error.stream",
    "status-in-2": "client.start.no-status",
    "stdin-code": "client.stop.stdin.exit-code",
    "term-code": "client.stop.term.exit-code",
    "method-draft": "socks-args.responder.json.draft-not-enabled",
    "json-little-endian": "socks-args.responder.json.example",
    "json-acknowledged": "socks-args.responder.json.example",
    "json-unread": "socks-args.responder.json.bad.array",
    "json-unlimited": "socks-args.responder.json.over-4g",
    "json-code-10": "socks-args.responder.json.over-4g",
    "json-code-11": "socks-args.responder.json.timeout-length",
    "json-code-12": "socks-args.responder.json.bad.not-json",
}

MUTANTS = [Mutant(name, case) for name, case in _CAUGHT.items()]
MUTANTS += [Mutant(name, case, "2") for name, case in _CAUGHT_IN_2.items()]
MUTANTS += [
    Mutant("grants-first", "client.socks.refused", required=("dials",)),
    Mutant("failure-silent", "client.socks.refused", required=("dials",)),
]
if own_address() is not None:  # a machine with nothing but loopback cannot tell
    MUTANTS.append(Mutant("outbound-ignored", "client.socks.outbound"))
