"""The protocol itself: no input or output, no clock, no randomness, no logging.

Everything in here is a value, a table or a state machine that is fed and asked.  What reads a
socket, a pipe, a file, a clock or the environment lives in ``ptipc.aio`` and ``ptipc.blocking``.
"""
