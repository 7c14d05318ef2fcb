"""For other people's tests: transports, hosts and everything around them, good and bad.

``plugin`` is for pytest, which finds it by itself; the rest will do for any framework:

- ``fakept``: a transport process that says what it is told to
- ``fakehost``: a host that starts a process and writes down what it says
- ``extorport``: an Extended ORPort, with a cookie that can be changed
- ``proxies``: upstream proxies of each kind, that keep books
- ``clients``: SOCKS clients as hosts have them
- ``strategies``: what Hypothesis may draw from
"""
